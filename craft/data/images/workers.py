"""Threads that read and decode images; Pillow releases the GIL while decoding."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")


def submit(work: Callable[[T], R], item: T) -> Future[R]:
    """Run ``work(item)`` in a thread."""
    return _pool(os.getpid()).submit(work, item)


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[Future[R]]:
    """Iterate over finished futures of ``work(item)``, in order, with a few processed ahead."""
    ahead: list[Future[R]] = []
    for item in items:
        ahead.append(submit(work, item))
        if len(ahead) > 4 * count():
            yield _done(ahead.pop(0))
    while ahead:
        yield _done(ahead.pop(0))


def meanwhile(work: Callable[[], R]) -> Future[R]:
    """Have a thread of its own do it, which may wait for the others; the process may end before
    it does."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="images-meanwhile", daemon=True).start()
    return future


def count() -> int:
    """The number of threads: one per core that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _done(future: Future[R]) -> Future[R]:
    future.exception()  # waits
    return future


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The thread pool of a process; threads do not survive a fork."""
    return ThreadPoolExecutor(count(), thread_name_prefix="images")
