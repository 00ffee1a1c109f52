"""Kinds of files by their names, regardless of case."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from craft.data.readers.image_kinds import OTHER_SUFFIXES, is_image_name

Kind = Literal["image", "json", "csv", "parquet", "webdataset", "about", "unread", "other"]

#: Metadata written beside the data by publishing tools.
_ABOUT = frozenset(
    {
        "dataset_infos.json",
        "dataset_info.json",
        "dataset_dict.json",
        "state.json",
        "croissant.json",
        "datapackage.json",
    }
)
_KINDS: dict[str, Kind] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".tar": "webdataset",
}
_UNREAD = re.compile(
    r"\.(zip|tgz|gz|bz2|xz|zst|7z|rar|arrow|feather|xlsx?|h5|hdf5|npz|npy|pkl|mat|mdb|tfrecord"
    r"|txt|xml|ya?ml)"
)
_PACKED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|z|lz4)|tgz|tbz2?|txz|tzst)$")
#: Suffixes of unsupported images, which are reported instead of ignored.
_UNREAD_IMAGES = OTHER_SUFFIXES.keys() | {".nii", ".raw"}


def suffix(name: str) -> str:
    """The suffix of a file name in lower case; ``.gz`` after that of a table is ignored.

    >>> suffix("test.JSONL"), suffix("a.csv.gz"), suffix("a.tar.gz")
    ('.jsonl', '.csv', '.gz')
    """
    path = PurePath(name.lower())
    inner = PurePath(path.stem).suffix
    return inner if path.suffix == ".gz" and _KINDS.get(inner) in {"json", "csv"} else path.suffix


def stem(name: str) -> str:
    """A file name without its suffix.

    >>> stem("test.jsonl.gz"), stem("v1.2.csv")
    ('test', 'v1.2')
    """
    path = PurePath(name)
    return PurePath(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def kind_of(name: str) -> Kind:
    """The kind of a file by its name.

    "about" means a file that describes a data set, "unread" data in an unsupported format, and
    "other" everything else.
    """
    ending = suffix(name)
    if name.lower() in _ABOUT:
        return "about"
    if is_image_name(name):
        return "image"
    return _KINDS.get(ending, "unread" if _UNREAD.fullmatch(ending) else "other")


def is_packed_shard(name: str) -> bool:
    """Whether a name is that of a compressed tar file, which must be decompressed first.

    >>> is_packed_shard("train-0.tar.gz"), is_packed_shard("train-0.tar")
    (True, False)
    """
    return _PACKED.search(name.lower()) is not None


def is_unread_image(name: str) -> bool:
    """Whether a name is that of an image in an unsupported format."""
    return suffix(name) in _UNREAD_IMAGES
