"""A lock that is open in a forked child, whichever thread of the parent held it."""

from __future__ import annotations

import os
import threading
import weakref


class ForkAwareLock:
    """A mutex to use with `with`. In a forked child it starts open: the thread that held it in the
    parent does not exist there and would never release it. Whatever the lock guards must therefore
    be consistent at every moment, for example because long work is published by one assignment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _all.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _open(self) -> None:
        self._lock = threading.Lock()


_all: weakref.WeakSet[ForkAwareLock] = weakref.WeakSet()


def _open_all() -> None:
    for lock in list(_all):
        lock._open()


if hasattr(os, "register_at_fork"):  # Windows cannot fork
    os.register_at_fork(after_in_child=_open_all)
