"""Locks that a forked child finds open, whichever thread of the parent held them."""

from __future__ import annotations

import os
import threading
import weakref


class ForkAwareLock:
    """A mutex for `with`. In a forked child it begins open: the thread that held it in the parent
    does not exist there, and would never release it. So whatever it guards must be whole at any
    moment, as where the result of long work is published by one assignment."""

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


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_open_all)
