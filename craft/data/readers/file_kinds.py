"""Kinds of files, told by their names; upper and lower case are the same."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from craft.data.readers.image_kinds import OTHER_SUFFIXES, is_image_name

Kind = Literal["image", "json", "csv", "parquet", "webdataset", "about", "unread", "other"]

#: Written beside the data by tools that publish it.
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
#: Suffixes of images that are not read; they are named instead of overlooked.
_UNREAD_IMAGES = OTHER_SUFFIXES.keys() | {".nii", ".raw"}


def suffix(name: str) -> str:
    """The ending of a file name in lower case, without ``.gz`` behind a table's.

    >>> suffix("test.JSONL"), suffix("a.csv.gz"), suffix("a.tar.gz")
    ('.jsonl', '.csv', '.gz')
    """
    path = PurePath(name.lower())
    inner = PurePath(path.stem).suffix
    return inner if path.suffix == ".gz" and _KINDS.get(inner) in {"json", "csv"} else path.suffix


def stem(name: str) -> str:
    """A file name without its ending.

    >>> stem("test.jsonl.gz"), stem("v1.2.csv")
    ('test', 'v1.2')
    """
    path = PurePath(name)
    return PurePath(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def kind_of(name: str) -> Kind:
    """What a file is by its name.

    "about" are files that describe a data set, "unread" are data that no reader reads, "other" is
    everything else.
    """
    ending = suffix(name)
    if name.lower() in _ABOUT:
        return "about"
    if is_image_name(name):
        return "image"
    return _KINDS.get(ending, "unread" if _UNREAD.fullmatch(ending) else "other")


def is_packed_shard(name: str) -> bool:
    """Whether a name is that of a compressed tar file, which must be unpacked to be read.

    >>> is_packed_shard("train-0.tar.gz"), is_packed_shard("train-0.tar")
    (True, False)
    """
    return _PACKED.search(name.lower()) is not None


def is_unread_image(name: str) -> bool:
    """Whether a name is that of an image of a kind that is not read."""
    return suffix(name) in _UNREAD_IMAGES
