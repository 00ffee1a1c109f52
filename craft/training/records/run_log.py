"""A run's log: one JSON line per event, and a copy of its numbers for the trackers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from craft.runtime.appended_file import AppendedFile
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
        self._file: AppendedFile | None = None
        if accelerator.is_main_process:
            self._file = AppendedFile(path, kept)

    def record(self, entry: dict[str, Any]) -> None:
        """Write one line, readable at once, and send its numbers to the trackers.

        Raises:
            OSError: it could not be written; names the file, whose earlier lines are whole.
        """
        if self._file is None:
            return
        self._file.append(json.dumps(entry).encode() + b"\n", sync=False)
        self._trackers.log(dict(_numbers(entry)), entry["step"])

    def flush(self) -> int:
        """Flush all lines to disk; returns their size in bytes."""
        if self._file is None:
            return 0
        self._file.sync()
        return self._file.size

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _numbers(entry: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in entry.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            found.append((prefix + name, float(value)))
    return found
