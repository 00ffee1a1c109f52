"""The members of a tar file, with every byte between them checked.

Python's tarfile reads a damaged header as the end of the archive, and so a damaged shard as a
smaller one. Here an archive is complete or refused: each header must match its checksum, each
member's last block must be padded with zeros, and the last member must be followed by the two zero
blocks that end an archive, and nothing else. The format has no checksum of members' contents, so a
changed byte in a label cannot be detected.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from craft.data.readers.place import DataError, Place

_BLOCK = tarfile.BLOCKSIZE
_WITHOUT_CONTENT = frozenset(
    {tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE}
    | {tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}
)
_ABOUT_THE_NEXT = frozenset(
    {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
    | {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
)
#: Signatures of gzip, bzip2, xz and zstd.
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_AGAIN = "the shard is incomplete or damaged; write or download it again"


def tar_members(path: Path) -> list[tarfile.TarInfo]:
    """Return all members of an uncompressed tar file, in order.

    Raises:
        DataError: the file is incomplete or damaged; the message gives the offset.
    """
    with path.open("rb") as file:
        headers = list(_headers(path, file, path.stat().st_size))
    try:
        with tarfile.open(path, "r:") as tar:
            members = tar.getmembers()
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DataError(Place(path), f"not a complete tar file ({error}); {_AGAIN}") from error
    places = [(header.offset_data, header.size) for header in headers]
    if places != [(member.offset_data, member.size) for member in members]:
        raise DataError(
            Place(path),
            f"its {len(headers)} headers and its extended headers give different members; write "
            "the shard with plain files below 8 GiB",
        )
    return members


def _headers(path: Path, file: BinaryIO, size: int) -> Iterator[tarfile.TarInfo]:
    """Iterate over the members' own headers, with ``offset`` and ``offset_data``."""
    at = 0
    while True:
        place = Place(path, part=f"offset {at}")
        block = file.read(_BLOCK)
        if len(block) == _BLOCK and not block.strip(b"\0"):
            _require_end(path, file, at)
            return
        if not block:
            raise DataError(
                place, f"the archive has no end-of-archive mark, so it is truncated; {_AGAIN}"
            )
        if at == 0 and block.startswith(_PACKED):
            raise DataError(place, "the shard is compressed; unpack it (gunzip)")
        if len(block) < _BLOCK:
            raise DataError(place, f"truncated at byte {size}, inside a header; {_AGAIN}")
        header = _header(block, place)
        header.offset, header.offset_data = at, at + _BLOCK
        at += _BLOCK
        if header.type not in _WITHOUT_CONTENT:
            end = at + header.size
            at = -(-end // _BLOCK) * _BLOCK
            if at > size:
                name = header.name
                raise DataError(place, f"truncated at byte {size}, inside {name!r}; {_AGAIN}")
            file.seek(end)
            if file.read(at - end).strip(b"\0"):
                raise DataError(
                    Place(path, part=f"offset {end}"),
                    f"there is data between {header.name!r} and the next header; {_AGAIN}",
                )
        if header.type not in _ABOUT_THE_NEXT:
            yield header


def _header(block: bytes, place: Place) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError as error:
        problem = f"a damaged header, or data that is not a member ({error})"
        raise DataError(place, f"{problem}; {_AGAIN}") from error
    if header.size < 0:
        raise DataError(place, f"a damaged header: {header.name!r} of {header.size} bytes")
    if header.type == tarfile.GNUTYPE_SPARSE:
        raise DataError(place, f"{header.name!r} is a sparse file; write the shard without -S")
    return header


def _require_end(path: Path, file: BinaryIO, at: int) -> None:
    """Refuse an end mark of only one block, or with data after it."""
    place = Place(path, part=f"offset {at}")
    second = file.read(_BLOCK)
    if second.strip(b"\0"):
        raise DataError(place, f"a member's header is empty, but more follows; {_AGAIN}")
    if len(second) < _BLOCK:
        raise DataError(
            place, f"the archive ends inside its end-of-archive mark, so it is truncated; {_AGAIN}"
        )
    behind = file.tell()
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            raise DataError(
                Place(path, part=f"offset {behind}"),
                "there is data after the end-of-archive mark, where no reader looks; join archives "
                "with tar --concatenate",
            )
        behind += len(block)
