"""A run's log: one JSON line per event, and a copy of its numbers for the trackers."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from accelerate import Accelerator

from craft.runtime.whole_file import write_errors
from craft.training.records.trackers import Trackers


class RunLog:
    """``train.jsonl`` and the trackers; only the main process writes.

    Args:
        path: of the JSON lines.
        trackers: already open; the caller closes them.
        kept: bytes of an earlier run's lines to keep when it is resumed; the lines after the
            checkpoint are written again.
    """

    def __init__(self, path: Path, accelerator: Accelerator, trackers: Trackers, kept: int = 0):
        self._trackers = trackers
        self._file: BinaryIO | None = None
        self._path = path
        if accelerator.is_main_process:
            self._file = path.open("r+b" if kept and path.is_file() else "wb")
            self._file.truncate(min(kept, path.stat().st_size))
            self._file.seek(0, os.SEEK_END)

    def record(self, entry: dict[str, Any]) -> None:
        """Write one line, readable at once, and send its numbers to the trackers.

        Raises:
            OSError: the line could not be written; the message names the file.
        """
        if self._file is None:
            return
        with write_errors(self._path):
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        self._trackers.log(dict(_numbers(entry)), entry["step"])

    def flush(self) -> int:
        """Flush all lines to disk; returns their size in bytes."""
        if self._file is None:
            return 0
        with write_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            # An error on a full disk was already reported when the line was written.
            with contextlib.suppress(OSError):
                self._file.close()


def _numbers(entry: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in entry.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            found.append((prefix + name, float(value)))
    return found
