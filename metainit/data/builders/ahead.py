"""Work in threads whose results come in order, a bounded number of them ahead."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_THREADS = 16  # more wait for the one that decompresses

T = TypeVar("T")
R = TypeVar("R")


def pieces(
    items: Iterable[T], size: Callable[[T], int], largest: int
) -> Iterator[list[T]]:
    """Neighbouring items together, until they are `largest` bytes or more."""
    piece: list[T] = []
    total = 0
    for item in items:
        piece.append(item)
        total += size(item)
        if total >= largest:
            yield piece
            piece, total = [], 0
    if piece:
        yield piece


def ahead(work: Callable[[list[T]], list[R]], pieces: Iterable[list[T]]) -> Iterator[R]:
    """The results of all pieces in order, worked on in threads while more are read."""
    threads = min(os.cpu_count() or 1, _THREADS)
    with ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[Future[list[R]]] = collections.deque()
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()
