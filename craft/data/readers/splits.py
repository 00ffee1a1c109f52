"""Split names as people write them in folder and file names."""

from __future__ import annotations

import re

_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_name(name: str) -> str | None:
    """ "train", "val" or "test" if that is what a name says, else None.

    >>> split_name("Validation"), split_name("cats")
    ('val', None)
    """
    return _NAMES.get(name.strip().lower())


def split_of_file(stem: str) -> str | None:
    """The split a file name begins with: ``train``, ``test-00000-of-00002``, ``val_v2``.

    >>> split_of_file("train-00000-of-00001"), split_of_file("trains"), split_of_file("data")
    ('train', None, None)
    """
    return split_name(re.split(r"[-_.]", stem, maxsplit=1)[0])
