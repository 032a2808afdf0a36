"""Several processes that run one experiment together, usually one a host.

All run the same program on the same config. The first process writes the run's folder
and prints. Each of the others works in its own copy of that folder, so that decisions
that depend on files are the same everywhere. Decisions that depend on time are made by
the first process (`agreed`).
"""

import contextlib
import io
import json
import os
import pathlib
import re
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from metainit.runtime import devices, stop

T = TypeVar("T")

_CLUSTER = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID")
# The errors that a lost process leads to, and words in their messages.
ERRORS = jax.errors.JaxRuntimeError, ValueError
_LOST = r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|heartbeat|oordination service"

_NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class Others(NamedTuple):
    """How this process finds the others; None stands for the environment's value.

    Attributes:
      coordinator: HOST:PORT of the first process.
      processes: how many there are.
      process: the number of this one, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


NO_OTHERS = Others()


def join(others: Others) -> None:
    """Joins the other processes, if there are any, before jax looks for its devices.

    What is not given is taken from the environment (`JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`). Where that has nothing either, jax itself
    asks SLURM or the hosts of a TPU.

    Raises:
      ValueError: a part is missing, a number is out of range, or the others were not
        found.
    """
    words = [os.environ.get(name) for name in _NAMES]
    address = others.coordinator or words[0]
    count, number = (
        int(word) if value is None and word else value
        for value, word in zip(others[1:], words[1:], strict=True)
    )
    alone = address is None and count is None and number is None
    if alone:
        by_itself = all(name in os.environ for name in _CLUSTER)
        if by_itself and os.environ["SLURM_NTASKS"] == "1":
            return
        if not by_itself and devices.accelerator_present() != "TPU":
            return
    elif address is None or count is None or number is None:
        raise ValueError(
            "coordinator, processes and process belong together: give --coordinator="
            "HOST:PORT of the first, --processes=N and --process=I, or "
            f"{', '.join(_NAMES)}"
        )
    elif count == 1:
        return
    elif not 0 <= number < count:
        raise ValueError(f"process={number} must be 0 to {count - 1} (processes - 1)")
    try:
        jax.distributed.initialize(address, count, number)
    except (RuntimeError, ValueError) as error:
        if alone and isinstance(error, ValueError):
            return  # a TPU of one host
        raise ValueError(f"coordinator={address}: {error}") from None
    # From here on jax handles SIGTERM. It picks a check that no process has reached.
    stop.together(multihost_utils.reached_preemption_sync_point)


def part() -> None:
    """Waits until all processes are here, and leaves them.

    A process that ended sooner would look lost to others that still save.
    """
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def several() -> bool:
    """Whether there is more than one process."""
    return jax.process_count() > 1


def lost(error: Exception) -> str:
    """Describes an error in `ERRORS` where it means that a process is gone, else ""."""
    words = " ".join(str(error).split())
    if not several() or not re.search(_LOST, words):
        return ""
    return (
        f"another process is gone or cannot be reached ({words[:200]}); the same "
        "command on every host goes on from the last checkpoint"
    )


def agreed(value: T) -> T:
    """Gives every process the first one's JSON value, such as a measured time."""
    if not several():
        return value
    return json.loads(_from_first(json.dumps(value).encode()))


def check_same(what: str, value: str) -> None:
    """Raises ValueError where hosts have another `value`, and names these hosts."""
    if not several():
        return
    pairs = [json.loads(x) for x in _gathered(json.dumps((_name(), value)).encode())]
    others = [name for name, other in pairs if other != pairs[0][1]]
    if others:
        raise ValueError(
            f"{what}: {', '.join(others)} and {pairs[0][0]} differ; give every host "
            "the same"
        )


def together(do: Callable[[], T]) -> T:
    """Calls a function on every host, and fails on all where it fails on one.

    Raises:
      ValueError: the function raised ValueError or OSError on the hosts that it names.
    """
    if not several():
        return do()
    result, error = None, ""
    try:
        result = do()
    except (ValueError, OSError) as refusal:
        error = f"{_name()}: {refusal}"
    errors = [text.decode() for text in _gathered(error.encode())]
    if any(errors):
        raise ValueError("; ".join(filter(None, errors)))
    return result  # type: ignore[return-value]


@contextlib.contextmanager
def folder(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the folder that this process works in.

    The first process has `workdir`. Each of the others has a temporary copy of it, and
    its standard output is dropped.
    """
    if not several():
        yield workdir
        return
    first, packed = jax.process_index() == 0, io.BytesIO()
    if first and workdir.is_dir():
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(workdir, ".")
    content = _from_first(packed.getvalue())
    if first:
        yield workdir
        return
    with (
        tempfile.TemporaryDirectory() as root,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        copy = pathlib.Path(root) / "run"
        if content:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(copy, filter="data")
        yield copy


def _name() -> str:
    return f"host {jax.process_index()} ({socket.gethostname()})"


def _from_first(content: bytes) -> bytes:
    """Gives every process the bytes of the first."""
    broadcast = multihost_utils.broadcast_one_to_all
    length = int(broadcast(np.int32(len(content))))
    is_first = jax.process_index() == 0
    array = np.frombuffer(content, np.uint8) if is_first else np.zeros(length, np.uint8)
    return np.asarray(broadcast(array)).tobytes()


def _gathered(content: bytes) -> list[bytes]:
    """Gives every process the bytes of every process."""
    lengths = multihost_utils.process_allgather(np.int32(len(content)))
    padded = np.zeros(max(1, lengths.max()), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    pairs = zip(rows, lengths, strict=True)
    return [row[:length].tobytes() for row, length in pairs]
