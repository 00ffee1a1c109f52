"""Hashes of image files that are as they were when they were hashed, so that a run that begins
again need not read a whole data set.

They lie beside the cached pixels, a file for each folder of images. An image file is taken to be
unchanged if device, inode, size, mtime and ctime are. The last of them is the kernel's own: every
write moves it, also one that keeps the size and puts the mtime back. It is as coarse as the
kernel's clock, so files that changed within :data:`SETTLED` before they were read are not noted.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from craft.data.images import workers
from craft.data.images.cache import DIGESTS, PixelCache
from craft.data.readers import ImageReport, Record
from craft.data.readers.image import ImageFile
from craft.runtime.whole_file import write_bytes

log = logging.getLogger(__name__)

#: Nanoseconds; the coarsest file systems keep times by two seconds.
SETTLED = 3 * 10**9
_FIELDS = ("device", "inode", "size", "mtime", "ctime")
_ROW = np.dtype([*((name, "<u8") for name in _FIELDS), ("digest", "S32")])
_FORMAT = b"craft-digests-1\n"
_CHECKSUM = 16


class _Stamp(NamedTuple):
    """What tells that a file is as it was; see :class:`os.stat_result`."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int

    @classmethod
    def of(cls, record: Record) -> _Stamp | None:
        """None for an image that is no file of its own, or that is not there."""
        if not isinstance(record.image, ImageFile):
            return None
        try:
            found = os.stat(record.image.path)
        except OSError:  # whoever reads it says what is wrong
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class _Found(NamedTuple):
    """The hash of an image, and the stamp to note it by, if it may be noted."""

    digest: str
    stamp: _Stamp | None
    new: bool


def digests(records: Sequence[Record]) -> list[str]:
    """Of all images, in order; threads read those that are not known.

    Raises:
        DataError: names every image that cannot be read.
    """
    place = _place(records)
    known = {} if place is None else _read(place)

    def look(record: Record) -> _Found:
        return _digest(record, known)

    report = ImageReport()
    found = [report.attempt(f.result) for f in workers.in_order(look, records)]
    report.raise_failures()
    whole = [one for one in found if one is not None]
    if place is not None and any(one.new for one in whole):
        try:
            _write(place, {one.stamp: one.digest for one in whole if one.stamp is not None})
        except OSError as error:
            log.warning("hashes of images are not kept: %s", error)
    return [one.digest for one in whole]


def _digest(record: Record, known: dict[_Stamp, str]) -> _Found:
    if record.is_hashed:  # some time ago: the file may be another by now
        return _Found(record.digest(), None, False)
    before = _Stamp.of(record)
    if before is not None and before in known:
        record.trust(known[before])
        return _Found(record.digest(), before, False)
    began = time.time_ns()
    digest = record.digest()
    if before is None or before != _Stamp.of(record) or before.ctime > began - SETTLED:
        return _Found(digest, None, False)
    return _Found(digest, before, True)


def _place(records: Sequence[Record]) -> Path | None:
    """Where the hashes of these images are kept, if anywhere."""
    cache = PixelCache.of_environment()
    paths = [str(r.image.path.absolute()) for r in records if isinstance(r.image, ImageFile)]
    if cache is None or not paths:
        return None
    folder = os.path.commonpath({os.path.dirname(path) for path in paths})
    name = hashlib.blake2b(os.fsencode(folder), digest_size=16).hexdigest()
    return cache.folder / f"{name}{DIGESTS}"


def _read(path: Path) -> dict[_Stamp, str]:
    """What is noted there; nothing if the file is not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    start = len(_FORMAT) + _CHECKSUM
    rows = content[start:]
    if content[:start] != _FORMAT + _checksum(rows) or len(rows) % _ROW.itemsize:
        return {}
    table = np.frombuffer(rows, _ROW)
    stamps = zip(*(table[name].tolist() for name in _FIELDS), strict=True)
    names = (digest.decode() for digest in table["digest"].tolist())
    return {_Stamp(*stamp): digest for stamp, digest in zip(stamps, names, strict=True)}


def _write(path: Path, known: dict[_Stamp, str]) -> None:
    table = np.array([(*stamp, digest) for stamp, digest in known.items()], _ROW)
    rows = table.tobytes()
    write_bytes(path, _FORMAT + _checksum(rows) + rows)


def _checksum(rows: bytes) -> bytes:
    return hashlib.blake2b(rows, digest_size=_CHECKSUM).digest()
