"""Append rows of measurements, and the machine they were made on, to benchmarks/results/*.csv."""

from __future__ import annotations

import csv
import datetime
import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from craft_kernels import backend_info

RESULTS = Path(__file__).parent / "results"


@functools.cache
def machine() -> dict[str, str | int | None]:
    """Processor, versions, commit and date of this run."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _output("git", "describe", "--always", "--dirty"),
        "processor": _processor(),
        "isa": backend_info().isa,
        "torch": torch.__version__,
        "faiss": _version("faiss-cpu"),
        "scikit_learn": _version("scikit-learn"),
        "vector_quantize_pytorch": _version("vector-quantize-pytorch"),
    }


def append(file: str, rows: list[dict]) -> None:
    """Append rows to a file; raises ValueError if it has other columns."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / file
    rows = [{**row, **machine()} for row in rows]
    columns = list(rows[0])
    new = not path.exists()
    if not new:
        with path.open(newline="") as existing:
            held = next(csv.reader(existing), [])
        if held != columns:
            raise ValueError(
                f"{path} has the columns {held}, but these rows have {columns}: move the file away"
            )
    with path.open("a", newline="") as out:
        writer = csv.DictWriter(out, columns)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def read(file: str) -> list[dict[str, str]]:
    with (RESULTS / file).open(newline="") as rows:
        return list(csv.DictReader(rows))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    flags = Path("/proc/cpuinfo")
    if flags.exists():
        fields = dict(line.split(":", 1) for line in flags.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        return " ".join(
            f"{name} {fields[key]}" if name else fields[key]
            for name, key in (("", "model name"), ("family", "cpu family"), ("model", "model"))
            if key in fields
        )
    return platform.processor() or platform.machine()


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
