"""WebDataset shards: tar files whose members of one base name make one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from craft.data.readers.columns import Columns
from craft.data.readers.image_kinds import is_image_name
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import RecordSet
from craft.data.readers.rows import record_of


@dataclass(frozen=True)
class TarImage:
    """A member of an uncompressed tar file."""

    path: Path
    member: str
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.member} in {self.path}"


def read_webdataset(path: Path, options: ReadOptions, split: str | None = None) -> RecordSet:
    """One shard. Beside its image a sample has ``.cls`` (class name or number), or ``.json`` with
    the fields of a table; ``.txt`` is a caption.

    Raises:
        DataError: not an uncompressed tar file, cut short, a sample without or with two images,
            or with neither class nor questions.
    """
    records = []
    for key, members in _samples(path):
        place = Place(path, part=f"sample {key}")
        images = [member for member in members if is_image_name(member.name)]
        if len(images) != 1:
            names = [member.name for member in members]
            raise DataError(place, f"{len(images)} images; it must have exactly one: {names}")
        row = _row(path, members, place)
        records.append(
            record_of(
                row,
                options.columns or Columns.of([*row, "image"], place),
                TarImage(path, images[0].name, images[0].offset_data, images[0].size),
                place,
                default_id=f"{path.stem}/{key}",
                class_names=options.class_names,
                split=split,
            )
        )
    notes = ("members of one base name make one sample",)
    return RecordSet(path, "webdataset", records, notes)


def _samples(path: Path) -> Iterator[tuple[str, list[tarfile.TarInfo]]]:
    """Neighbouring members whose names agree up to the first dot of the last part."""
    size = path.stat().st_size
    sample: list[tarfile.TarInfo] = []
    now = ""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"{member.name} is cut short")
                folder, _, name = member.name.rpartition("/")
                if not member.isreg() or name.startswith("."):
                    continue
                key = f"{folder}/{name.split('.')[0]}".lstrip("/")
                if sample and key != now:
                    yield now, sample
                    sample = []
                now = key
                sample.append(member)
    except tarfile.TarError as error:
        raise DataError(
            Place(path), f"not a whole uncompressed tar file ({error}); gunzip it if need be"
        ) from error
    if sample:
        yield now, sample


def _row(path: Path, members: list[tarfile.TarInfo], place: Place) -> dict[str, Any]:
    """The fields of a sample: those of its ``.json``, with ``label`` and ``caption`` beside."""
    texts: dict[str, str] = {}
    for member in members:
        kind = member.name.rpartition(".")[2].lower()
        if kind in {"json", "cls", "txt"}:
            data = TarImage(path, member.name, member.offset_data, member.size).read()
            try:
                texts[kind] = data.decode()
            except UnicodeDecodeError as error:
                raise DataError(place, f"{member.name} is not UTF-8: {error.reason}") from None
    row: dict[str, Any] = {}
    if "json" in texts:
        try:
            row = json.loads(texts["json"])
        except json.JSONDecodeError as error:
            raise DataError(place, f"malformed JSON, {error}") from None
        if not isinstance(row, dict):
            raise DataError(place, "its .json is no object {...}")
    if "cls" in texts:
        row.setdefault("label", texts["cls"])
    if "txt" in texts:
        row.setdefault("caption", texts["txt"])
    return row
