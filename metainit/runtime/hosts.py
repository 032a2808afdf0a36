"""Several processes that run one experiment together, usually one a host.

All run the same program on the same config. The first one writes the run's folder and
speaks; the others work in a copy of it of their own, so that every decision that rests
on files is the same. What rests on time is decided by the first (`agreed`).
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
# As which a lost process is noticed, and words of what is said then.
ERRORS = jax.errors.JaxRuntimeError, ValueError
_LOST = r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|heartbeat|oordination service"

_NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class Others(NamedTuple):
    """How this process finds the others; None: from the environment.

    Attributes:
      coordinator: HOST:PORT of the first process.
      processes, process: how many there are, and the number of this one, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


NO_OTHERS = Others()


def join(others: Others) -> None:
    """Joins the other processes, if there are any, before jax looks for its devices.

    What is not given is taken from the environment (`JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`); where none of it is set, SLURM and the hosts
    of a TPU are asked by jax itself. A ValueError says that a part is missing, a number
    out of range, or that the others were not found.
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
            return  # a TPU of one host, of which nothing is known
        raise ValueError(f"coordinator={address}: {error}") from None
    # From here on jax handles SIGTERM: it finds a check that none has come to yet.
    stop.together(multihost_utils.reached_preemption_sync_point)


def part() -> None:
    """Leaves the others when all are as far, where they were told to stop together.

    One that ends sooner would look lost to those that save still.
    """
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def several() -> bool:
    """Whether there is more than one process."""
    return jax.process_count() > 1


def lost(error: Exception) -> str:
    """Says, of an error in `ERRORS`, that a process is gone; "" where it means else."""
    words = " ".join(str(error).split())
    if not several() or not re.search(_LOST, words):
        return ""
    return (
        f"another process is gone or cannot be reached ({words[:200]}); the same "
        "command on every host goes on from the last checkpoint"
    )


def agreed(value: T) -> T:
    """Gives every process the first one's JSON value, such as a time it measured."""
    if not several():
        return value
    return json.loads(_of_first(json.dumps(value).encode()))


def check_same(what: str, value: str) -> None:
    """Raises ValueError, which names the hosts, where these have another `value`."""
    if not several():
        return
    said = [json.loads(x) for x in _gathered(json.dumps((_name(), value)).encode())]
    others = [name for name, other in said if other != said[0][1]]
    if others:
        raise ValueError(
            f"{what}: {', '.join(others)} and {said[0][0]} differ; give every host the "
            "same"
        )


def together(do: Callable[[], T]) -> T:
    """Does it on every host; where one cannot (ValueError), none goes on.

    The ValueError that all raise names the host.
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
    """The folder that this process works in: of all but the first a copy, for a while.

    Their standard output goes nowhere.
    """
    if not several():
        yield workdir
        return
    first, packed = jax.process_index() == 0, io.BytesIO()
    if first and workdir.is_dir():
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(workdir, ".")
    content = _of_first(packed.getvalue())
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


def _of_first(content: bytes) -> bytes:
    """Gives every process the bytes of the first."""
    of_all = multihost_utils.broadcast_one_to_all
    length = int(of_all(np.int32(len(content))))
    mine = jax.process_index() == 0
    array = np.frombuffer(content, np.uint8) if mine else np.zeros(length, np.uint8)
    return np.asarray(of_all(array)).tobytes()


def _gathered(content: bytes) -> list[bytes]:
    """Gives every process the bytes of each."""
    lengths = multihost_utils.process_allgather(np.int32(len(content)))
    padded = np.zeros(max(1, lengths.max()), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    pairs = zip(rows, lengths, strict=True)
    return [row[:length].tobytes() for row, length in pairs]
