"""Other processes of Python."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import metainit

# Modules of ours that need no jax, without it: it takes most of a second to load.
WITHOUT_JAX = f"""
import sys, types
sys.modules["metainit"] = types.ModuleType("metainit")
sys.modules["metainit"].__path__ = {metainit.__path__!r}
"""


def python(code, **environment):
    """What a new process prints, with these environment variables besides ours."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def side_by_side(code, count, timeout=240):
    """Status, output and errors of processes that find each other by loopback."""
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
        "JAX_NUM_PROCESSES": str(count),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment | {"JAX_PROCESS_ID": str(number)},
        )
        for number in range(count)
    ]
    # Each is read by a thread, since one that nobody reads from would wait.
    with ThreadPoolExecutor(count) as readers:
        told = [readers.submit(process.communicate) for process in running]
        try:
            printed = [reader.result(timeout) for reader in told]
        finally:
            for process in running:
                process.kill()
    return [
        (process.returncode, *texts)
        for process, texts in zip(running, printed, strict=True)
    ]
