"""Tables of image paths with questions and answers or labels: CSV, TSV, JSON Lines, JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from craft.data.readers.columns import ALIASES, EXPECTED, Columns
from craft.data.readers.image_paths import ImagePaths
from craft.data.readers.json_lines import read_objects
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Record, RecordSet
from craft.data.readers.rows import record_of

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_KNOWN = {alias for aliases in ALIASES.values() for alias in aliases}


def read_table(path: Path, options: ReadOptions, split: str | None = None) -> RecordSet:
    """One row an image and question, or an image and label; columns go by their names.

    Raises:
        DataError: no header, a row of another length, a missing value or image file.
    """
    rows = _csv_rows(path) if path.suffix in _DELIMITERS else read_objects(path)
    paths = ImagePaths.beside(path, options.images)
    columns = options.columns
    records: list[Record] = []
    for number, (place, row) in enumerate(rows, 1):
        columns = columns or Columns.of(row, place)
        columns.require(row, place)
        if not columns.wanted(row):
            continue
        image = paths.image(row[columns.image], place, options.skip_corrupt)
        records.append(
            record_of(
                row,
                columns,
                image,
                place,
                default_id=f"{path.stem}:{number}",
                class_names=options.class_names,
                split=split,
            )
        )
    notes = (columns.sentence(), paths.sentence()) if columns else ()
    return RecordSet(path, "table", records, notes)


def _csv_rows(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=_DELIMITERS[path.suffix], strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if not {name.lower() for name in header} & _KNOWN:
                raise DataError(
                    Place(path, 1),
                    f"no header: the first row is {header[:6]}; expected column names there, "
                    f"{EXPECTED}",
                )
            if len(set(header)) < len(header):
                raise DataError(Place(path, 1), f"two columns of one name: {header}")
            begins = reader.line_num + 1
            for row in reader:
                place, begins = Place(path, begins), reader.line_num + 1
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        place, f"{len(row)} fields, the header has {len(header)}: {row!r:.80}"
                    )
                yield place, dict(zip(header, row, strict=True))
        except UnicodeDecodeError as error:
            raise DataError(Place(path, reader.line_num + 1), f"not UTF-8: {error}") from None
        except csv.Error as error:
            raise DataError(Place(path, reader.line_num), f"malformed CSV: {error}") from None
