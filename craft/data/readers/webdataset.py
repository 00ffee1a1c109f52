"""WebDataset shards: tar files whose members of one base name make one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from craft.data.readers.account import Account
from craft.data.readers.columns import Columns
from craft.data.readers.faults import Faults
from craft.data.readers.image_kinds import is_image_name
from craft.data.readers.options import ReadOptions
from craft.data.readers.place import DataError, Place, shown
from craft.data.readers.record import RecordSet
from craft.data.readers.rows import record_of

LONGER = "members with a longer ending beside those that are read"
_BLOCK = tarfile.BLOCKSIZE
_TEXTS = ("json", "cls", "txt")


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
        return f"{shown(self.member)} in {shown(self.path)}"


@dataclass(frozen=True)
class _Sample:
    """Members that agree up to the first dot of the last part of their names."""

    key: str
    members: tuple[tarfile.TarInfo, ...]

    def of(self, wanted: str) -> list[tarfile.TarInfo]:
        """The members of a kind: "image", or a plain ending such as "cls"; ``a.pred.cls`` is
        another thing than ``a.cls``."""
        if wanted == "image":
            return [m for m in self.members if is_image_name(m.name)]
        return [m for m in self.members if _ending(m.name) == wanted]


def read_webdataset(path: Path, options: ReadOptions, split: str | None = None) -> RecordSet:
    """One shard. Beside its image a sample has ``.cls`` (class name or number), or ``.json`` with
    the fields of a table; ``.txt`` is a caption.

    Raises:
        DataError: not an uncompressed tar file; damaged or cut short, with the offset; members of a
            sample that are not neighbours; a sample without or with two images, or with neither
            class nor questions.
    """
    account, faults, records = Account(), Faults(), []
    for sample in list(_samples(path)):
        place = Place(path, part=f"sample {shown(sample.key)}")
        with faults.collected(place):
            images = sample.of("image")
            if len(images) != 1:
                names = [shown(member.name) for member in sample.members]
                raise DataError(place, f"{len(images)} images; it must have exactly one: {names}")
            texts = {kind: found for kind in _TEXTS if (found := sample.of(kind))}
            used = [images[0], *(members[0] for members in texts.values())]
            row = _row(path, {kind: members[0] for kind, members in texts.items()}, place)
            records.append(
                record_of(
                    row,
                    options.columns or Columns.of([*row, "image"], place),
                    TarImage(path, images[0].name, images[0].offset_data, images[0].size),
                    place,
                    default_id=f"{path.stem}/{shown(sample.key)}",
                    class_names=options.class_names,
                    split=split,
                )
            )
            for member in sample.members:
                if member not in used and "." in _ending(member.name):
                    account.skip(LONGER, place, shown(member.name))
    faults.raise_if_any()
    notes = ("members of one base name make one sample",)
    return RecordSet(path, "webdataset", records, notes, account)


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _samples(path: Path) -> Iterator[_Sample]:
    """Neighbouring members whose names agree up to the first dot of the last part."""
    members: list[tarfile.TarInfo] = []
    now, ended = "", set[str]()
    for member in _members(path):
        folder, _, name = member.name.rpartition("/")
        if not member.isreg() or name.startswith("."):
            continue
        key = f"{folder}/{name.split('.')[0]}".lstrip("/")
        if key != now:
            if members:
                yield _Sample(now, tuple(members))
                ended.add(now)
            if key in ended:
                raise DataError(
                    Place(path, part=f"member {shown(member.name)}"),
                    f"the members of sample {shown(key)} are not neighbours; a shard must be "
                    "sorted by base name, as `tar --sort=name` does",
                )
            members, now = [], key
        members.append(member)
    if members:
        yield _Sample(now, tuple(members))


def _members(path: Path) -> list[tarfile.TarInfo]:
    """All members, once the archive is known to be whole: Python's reader takes a damaged header
    for the end."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members = []
            for member in tar:
                if member.offset_data + member.size > size:
                    raise DataError(
                        Place(path),
                        f"cut short: {shown(member.name)} needs {member.size} bytes at "
                        f"{member.offset_data}, the file has {size}; get the shard again",
                    )
                members.append(member)
            _require_end(path, file, tar.offset, size)
            return members
    except tarfile.TarError as error:
        raise DataError(
            Place(path), f"not a whole uncompressed tar file ({error}); gunzip it if need be"
        ) from error


def _require_end(path: Path, file: IO[bytes], offset: int, size: int) -> None:
    """Raises DataError unless the archive's end mark is at ``offset`` and nothing behind it."""
    file.seek(offset)
    head = file.read(_BLOCK)
    if len(head) < _BLOCK:
        raise DataError(
            Place(path),
            f"cut short at byte {size}, before the archive's end mark; get the shard again",
        )
    if any(head):
        raise DataError(Place(path), f"the header at byte {offset} is damaged; get the shard again")
    while block := file.read(1 << 20):
        if any(block):
            behind = file.tell() - len(block)
            raise DataError(
                Place(path),
                f"data behind the archive's end mark, after byte {behind}; shards are joined by "
                "`tar --concatenate`, not by cat",
            )


def _row(path: Path, members: dict[str, tarfile.TarInfo], place: Place) -> dict[str, Any]:
    """The fields of a sample: those of its ``.json``, with ``label`` and ``caption`` beside."""
    texts: dict[str, str] = {}
    for kind, member in members.items():
        data = TarImage(path, member.name, member.offset_data, member.size).read()
        try:
            texts[kind] = data.decode()
        except UnicodeDecodeError as error:
            name = shown(member.name)
            raise DataError(place, f"{name} is not UTF-8: {error.reason}") from None
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
