"""Tables of image paths with questions and answers or labels: CSV, TSV, JSON and JSON Lines."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from craft.data.readers.columns import ALIASES, EXPECTED, Columns
from craft.data.readers.faults import failures_at
from craft.data.readers.file_kinds import kind_of, stem, suffix
from craft.data.readers.image_kinds import is_image_name
from craft.data.readers.image_paths import ImagePaths
from craft.data.readers.json_lines import read_objects
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place
from craft.data.readers.rows import Row
from craft.data.readers.walk import require_whole
from craft.runtime.regular_files import regular_bytes

_KNOWN = {alias for aliases in ALIASES.values() for alias in aliases}
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
#: Cells may contain images in base64; the csv module's default limit is 131,072 characters.
_LONGEST_CELL = 1 << 30


class TableFile:
    """A CSV, TSV, JSON or JSON Lines file, possibly compressed with gzip."""

    def __init__(self, path: Path, options: ReadOptions, split: str | None) -> None:
        self.place = Place(path, 1)
        self._path, self._split = path, split
        self._paths = ImagePaths.of(path, options.images)
        self._delimiter = ""
        self._textual = self._several = 0

    @cached_property
    def _read(self) -> list[tuple[Place, dict[str, Any]]]:
        require_whole(self._path)
        text = text_of_file(self._path)
        if kind_of(self._path.name) == "csv":
            return list(self._csv_rows(text))
        return list(read_objects(self._path, text))

    @property
    def converses(self) -> bool:
        """Whether it has LLaVA's format."""
        return "conversations" in self.column_names()

    def column_names(self) -> list[str]:
        """The names of all columns that occur in any row."""
        return list(dict.fromkeys(name for _, row in self._read for name in row))

    def rows(self, columns: Columns) -> Iterator[Row]:
        """Iterate over the rows."""
        for number, (place, row) in enumerate(self._read, 1):
            talk = columns.conversations and row.get(columns.conversations)
            self._several += isinstance(talk, list) and len(talk) > 2
            yield Row(
                values=row,
                image=partial(self._paths.image, row.get(columns.image), place),
                place=place,
                default_id=f"{stem(self._path.name)}:{number}",
                split=self._split,
            )

    def names_classes(self) -> bool:
        """False: a table has no class names."""
        return False

    def notes(self) -> list[str]:
        """Describe how fields are separated and how conversations are used."""
        notes = []
        if self._delimiter not in ("", ",", "\t"):
            notes.append(f"fields are separated by {_DELIMITERS[self._delimiter]}")
        if self.converses:
            notes.append("conversations are asked verbatim")
        if self._several:
            notes.append(
                f"{self._several} conversations have several questions; each is asked separately, "
                "without the preceding ones"
            )
        return notes

    def image_note(self) -> str:
        """Describe where images were found; called after the records were read."""
        return self._paths.sentence()

    def _csv_rows(self, text: str) -> Iterator[tuple[Place, dict[str, Any]]]:
        self._delimiter = _delimiter(text, "\t" if suffix(self._path.name) == ".tsv" else ",")
        limit = csv.field_size_limit(_LONGEST_CELL)
        try:
            yield from self._parsed(text)
        finally:
            csv.field_size_limit(limit)

    def _parsed(self, text: str) -> Iterator[tuple[Place, dict[str, Any]]]:
        path = self._path
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _require_header(header, Place(path, 1))
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
        except csv.Error as error:
            raise DataError(Place(path, reader.line_num), f"malformed CSV: {error}") from None


def _delimiter(text: str, usual: str) -> str:
    """Guess the delimiter from the first line.

    It is the first, beginning with ``usual``, that yields at least two known names. Otherwise it is
    ``usual`` if that occurs, or the most frequent delimiter.
    """
    line = text.split("\n", 1)[0]
    for mark in (usual, *_DELIMITERS):
        names = {name.strip().strip('"').lower() for name in line.split(mark)}
        if len(names & _KNOWN) > 1:
            return mark
    return usual if usual in line else max(_DELIMITERS, key=line.count)


def _require_header(header: Sequence[str], place: Place) -> None:
    if not {name.lower() for name in header} & _KNOWN:
        if any(is_image_name(cell) for cell in header):
            raise DataError(
                place,
                f"no header: the first row is {header[:6]!s:.200}; expected column names, "
                f"{EXPECTED}",
            )
        raise DataError(
            place,
            f"no column has a known name; expected {EXPECTED}; the columns are {header!s:.200}",
        )
    if len(set(header)) < len(header):
        raise DataError(place, f"two columns have the same name: {header}")


def text_of_file(path: Path) -> str:
    """Read a UTF-8 file, decompressed if its name ends with ``.gz``.

    Raises:
        DataError: the encoding is another one, and the message gives the line; or the gzip data is
            damaged.
    """
    with failures_at(Place(path), "check that the file is complete"):
        data = regular_bytes(path)
        if path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:100]
        code = "UTF-16" if wide else "WINDOWS-1252"
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            Place(path, line),
            f"not UTF-8: {error.reason} {data[error.start]:#04x}; if it is {code}, convert it: "
            f"iconv -f {code} -t UTF-8",
        ) from None
