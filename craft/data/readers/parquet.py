"""Parquet files, one or a folder of shards, with images as bytes, structs or paths."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from craft.data.readers.columns import Columns
from craft.data.readers.image_cells import image_bytes, require_one_image
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.rows import record_of


@dataclass(frozen=True)
class ParquetImage:
    """A cell of a Parquet file. Neighbours are read together, so read them in order."""

    path: Path
    column: str
    group: int
    row: int

    def read(self) -> bytes:
        cell = _cells(self.path, self.column, self.group)[self.row].as_py()
        return image_bytes(cell, self.path.parent)

    def __str__(self) -> str:
        return f"{self.path}, row {self.row} of row group {self.group}"


@lru_cache(maxsize=2)
def _cells(path: Path, column: str, group: int) -> pa.ChunkedArray:
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(column)


def read_parquet(path: Path, options: ReadOptions, split: str | None = None) -> RecordSet:
    """One Parquet file. Rows without an image are left out.

    Raises:
        DataError: not Parquet, no known columns, a bad value; with the row, counted from 0.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(Place(path), f"not a Parquet file: {error}") from error
    with file:
        schema = file.schema_arrow
        columns = options.columns or Columns.of(schema.names, Place(path))
        columns.require(schema.names, Place(path))
        others = [n for n in columns.names if n in schema.names and n != columns.image]
        names = options.class_names or _class_names(schema, columns.label)
        records: list[Record] = []
        first, empty = 0, 0
        for group in range(file.num_row_groups):
            cells = file.read_row_group(group, columns=[columns.image]).column(columns.image)
            rows = file.read_row_group(group, columns=others).to_pylist()
            for i, row in enumerate(rows):
                place = Place(path, part=f"row {first + i}")
                if not columns.wanted(row):
                    continue
                if not require_one_image(cells[i].as_py(), place):
                    empty += 1
                    continue
                records.append(
                    record_of(
                        row,
                        columns,
                        ParquetImage(path, columns.image, group, i),
                        place,
                        default_id=f"{path.stem}:{first + i}",
                        class_names=names,
                        split=split,
                    )
                )
            first += len(rows)
    notes = [columns.sentence()]
    if empty:
        notes.append(f"{empty} rows without an image were left out")
    return RecordSet(path, "parquet", records, tuple(notes))


def _class_names(schema: pa.Schema, label: str | None) -> tuple[str, ...] | None:
    """What the datasets library notes in the schema about a column of class numbers."""
    noted = (schema.metadata or {}).get(b"huggingface")
    if noted is None or label is None:
        return None
    feature: Any = json.loads(noted).get("info", {}).get("features", {}).get(label, {})
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(names) if names else None
