"""Parquet files with images as bytes, structs or paths."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from craft.data.readers.columns import Columns
from craft.data.readers.faults import failures_at
from craft.data.readers.image_cells import holds_image, image_bytes, path_in
from craft.data.readers.place import Place
from craft.data.readers.rows import Row, cell_image
from craft.data.readers.walk import require_whole

_reading = threading.Lock()
_DAMAGED = "the shard is damaged; download or write it again"


@dataclass(frozen=True)
class ParquetImage:
    """An image cell of a Parquet file. A row group is read at once, so read cells in order."""

    path: Path
    column: str
    group: int
    row: int
    named: str = ""
    root: Path | None = None

    def read(self) -> bytes:
        with failures_at(Place(self.path, part=f"row group {self.group}"), _DAMAGED):
            status = self.path.stat()
            version = status.st_mtime_ns, status.st_size, status.st_ino
            with _reading:  # several threads must not each read the same group
                cells = _cells(self.path, self.column, self.group, version)
            cell = cells[self.row].as_py()
        return image_bytes(cell, self.path.parent, self.root)

    def __str__(self) -> str:
        return f"{self.path}, row {self.row} of row group {self.group}"


@lru_cache(maxsize=2)
def _cells(path: Path, column: str, group: int, version: tuple[int, int, int]) -> pa.ChunkedArray:
    del version  # part of the cache's key, so that a rewritten file is read again
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read_row_group(group, columns=[column]).column(column)


class ParquetFile:
    """One Parquet file; rows are counted from 0."""

    def __init__(self, path: Path, split: str | None, images: Path | None = None) -> None:
        self.place = Place(path)
        self._path, self._split, self._images = path, split, images

    def _open(self) -> pq.ParquetFile:
        require_whole(self._path)
        with failures_at(self.place, "not a Parquet file, or a damaged one"):
            return pq.ParquetFile(self._path, page_checksum_verification=True)

    def column_names(self) -> list[str]:
        """The column names of the schema."""
        with self._open() as file:
            return list(file.schema_arrow.names)

    def rows(self, columns: Columns) -> Iterator[Row]:
        """Iterate over the rows, reading a row group at a time."""
        with self._open() as file:
            schema = file.schema_arrow
            columns.require(schema.names, self.place)
            others = [n for n in columns.names if n in schema.names and n != columns.image]
            with failures_at(
                self.place, "the datasets library's metadata in its schema are damaged"
            ):
                names = _class_names(schema, columns.label)
            first = 0
            for group in range(file.num_row_groups):
                with failures_at(Place(self._path, part=f"row group {group}"), _DAMAGED):
                    cells = file.read_row_group(group, columns=[columns.image])
                    cells = cells.column(columns.image)
                    rows = file.read_row_group(group, columns=others).to_pylist()
                    spare = self._other_images(file, group, columns, cells)
                for i, row in enumerate(rows):
                    place = Place(self._path, part=f"row {first + i}")
                    cell = cells[i].as_py()
                    image = ParquetImage(
                        self._path, columns.image, group, i, path_in(cell), self._images
                    )
                    yield Row(
                        row | spare.get(i, {}),
                        cell_image(cell, image, place),
                        place,
                        f"{self._path.stem}:{first + i}",
                        self._split,
                        names,
                    )
                first += len(rows)

    def _other_images(
        self, file: pq.ParquetFile, group: int, columns: Columns, cells: pa.ChunkedArray
    ) -> dict[int, dict[str, Any]]:
        """Row -> the other columns that may contain images, for rows without an image."""
        names = columns.other_images(file.schema_arrow.names)
        empty = (
            [i for i, cell in enumerate(cells) if not holds_image(cell.as_py())] if names else []
        )
        if not empty:
            return {}
        found = file.read_row_group(group, columns=names)
        return dict(zip(empty, found.take(empty).to_pylist(), strict=True))

    def names_classes(self) -> bool:
        """Whether the schema contains class names of the datasets library."""
        with self._open() as file:
            return b'"names"' in (file.schema_arrow.metadata or {}).get(b"huggingface", b"")

    def notes(self) -> list[str]:
        """Empty: there is nothing to add about it."""
        return []


def _class_names(schema: pa.Schema, label: str | None) -> tuple[str, ...] | None:
    """Return the class names that the datasets library stores in the schema for a label column."""
    noted = (schema.metadata or {}).get(b"huggingface")
    if noted is None or label is None:
        return None
    feature: Any = json.loads(noted).get("info", {}).get("features", {}).get(label, {})
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(names) if names else None
