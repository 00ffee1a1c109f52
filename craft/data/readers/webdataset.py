"""WebDataset shards: tar files in which the members with the same base name form a sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from craft.data.readers.account import NOT_UTF8, Account
from craft.data.readers.columns import Columns
from craft.data.readers.faults import Faults
from craft.data.readers.image_kinds import is_image_name
from craft.data.readers.image_limits import most_bytes
from craft.data.readers.place import DataError, Place, shown
from craft.data.readers.rows import Row
from craft.data.readers.tar_members import tar_members
from craft.data.readers.walk import HIDDEN, is_junk, require_whole
from craft.errors import CraftError
from craft.runtime.strict_text import object_of

#: The account's reason.
UNUSED = "members of shards that are not used"


@dataclass(frozen=True)
class TarImage:
    """A member of an uncompressed tar file."""

    path: Path
    member: str
    offset: int
    size: int

    @property
    def named(self) -> str:
        return self.member

    def read(self) -> bytes:
        if self.size > (most := most_bytes()):
            raise CraftError(f"it has {self.size:,} bytes, more than {most:,}")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        return f"{self.member} in {self.path}"


class WebDatasetShard:
    """A WebDataset shard.

    Besides its image, a sample has ``.cls`` (class name or number) or ``.json`` with the fields of
    a table; ``.txt`` is a caption. Among several members of one kind, the one with the plain
    extension is used: ``s.cls``, not ``s.pred.cls``.
    """

    def __init__(self, path: Path, split: str | None, account: Account) -> None:
        self.place = Place(path)
        self._path, self._split, self._account = path, split, account

    @cached_property
    def _read(self) -> list[Row]:
        require_whole(self._path)
        faults = Faults()
        rows = []
        for key, members in _samples(self._path, self._account).items():
            place = Place(self._path, part=f"sample {key}")
            if shown(key) != key:
                self._account.warn(NOT_UTF8, place)
            with faults.collected(place):
                row = _row(self._path, members, place)
                image = _image(self._path, members, place)
                rows.append(
                    Row(
                        row | {"image": None},
                        partial(_same, image),
                        place,
                        f"{self._path.stem}/{shown(key)}",
                        self._split,
                    )
                )
                for ending in sorted(members.keys() - _USED - {_ending(image)}):
                    self._account.skip(UNUSED, Place(self._path, part=members[ending].name))
        faults.raise_if_any()
        return rows

    def column_names(self) -> list[str]:
        """The names of all fields that occur in any sample."""
        return list(dict.fromkeys(name for row in self._read for name in row.values))

    def rows(self, columns: Columns) -> Iterator[Row]:
        """Iterate over the samples in order."""
        del columns
        return iter(self._read)

    def names_classes(self) -> bool:
        """False: a shard has no class names."""
        return False

    def notes(self) -> list[str]:
        """Describe what a sample is."""
        return ["members with the same base name form a sample"]


def _same(image: TarImage | None) -> TarImage | None:
    return image


def _ending(image: TarImage | None) -> str:
    return image.member.rpartition("/")[2].partition(".")[2].lower() if image else ""


def _parts(folder: str) -> list[str]:
    return [part for part in folder.split("/") if part not in ("", ".", "..")]


def _samples(path: Path, account: Account) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Sample -> extension -> member; a base name ends at the first dot of the file name.

    Raises:
        DataError: the shard is not a complete uncompressed tar file, or the members of a sample are
            not adjacent.
    """
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    now = None
    for member in tar_members(path):
        folder, _, name = member.name.rpartition("/")
        if member.isdir():
            continue
        if is_junk(name) or any(is_junk(part, folder=True) for part in _parts(folder)):
            account.skip(HIDDEN, Place(path, part=member.name))
            continue
        if not member.isreg() or member.issparse():
            raise DataError(
                Place(path, part=member.name),
                "a link or sparse file; write the shard with plain files (tar --hard-dereference)",
            )
        base, _, ending = name.partition(".")
        key = f"{folder}/{base}".lstrip("/")
        if key != now and key in samples:
            raise DataError(
                Place(path, part=f"sample {key}"),
                f"its member {member.name} is not next to the others; a shard must be sorted by "
                "base name (tar --sort=name)",
            )
        now = key
        if ending.lower() in samples.setdefault(key, {}):
            raise DataError(Place(path, part=f"sample {key}"), f"two members {member.name}")
        samples[key][ending.lower()] = member
    return samples


def _image(path: Path, members: Mapping[str, tarfile.TarInfo], place: Place) -> TarImage | None:
    """Return the image of a sample, if any; a plain extension is preferred to ``s.mask.png``."""
    images = {ending: m for ending, m in members.items() if is_image_name(f"x.{ending}")}
    plain = {ending: m for ending, m in images.items() if "." not in ending} or images
    if len(plain) > 1:
        names = [member.name for member in plain.values()]
        raise DataError(
            place,
            f"{len(plain)} images; it must have exactly one: {names} (a base name ends at the "
            "first dot)",
        )
    for member in plain.values():
        return TarImage(path, member.name, member.offset_data, member.size)
    return None


#: Extensions that are used besides those of images.
_USED = frozenset({"json", "cls", "txt"})


def _row(path: Path, members: Mapping[str, tarfile.TarInfo], place: Place) -> dict[str, Any]:
    """Return the fields of a sample: those of its ``.json``, plus ``label`` and ``caption``."""
    texts: dict[str, str] = {}
    for kind in _USED & members.keys():
        member = members[kind]
        data = TarImage(path, member.name, member.offset_data, member.size).read()
        try:
            texts[kind] = data.decode()
        except UnicodeDecodeError as error:
            raise DataError(place, f"{member.name} is not UTF-8: {error.reason}") from None
    row: dict[str, Any] = {}
    if "json" in texts:
        try:
            row = json.loads(texts["json"], object_pairs_hook=object_of)
        except (ValueError, RecursionError) as error:
            raise DataError(place, f"malformed JSON, {error}") from None
        if not isinstance(row, dict):
            raise DataError(place, "its .json is not an object {...}")
    if "cls" in texts:
        row.setdefault("label", texts["cls"])
    if "txt" in texts:
        row.setdefault("caption", texts["txt"])
    return row
