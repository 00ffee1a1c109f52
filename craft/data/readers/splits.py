"""Names of splits in folder and file names."""

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
    """Return "train", "val" or "test" for the name of a split; None for other names.

    >>> split_name("Validation"), split_name("cats")
    ('val', None)
    """
    return _NAMES.get(name.strip().lower())


def split_of_file(stem: str) -> str | None:
    """Return the split that a file name begins with, as in ``test-00000-of-00002`` or ``val_v2``.

    >>> split_of_file("train-00000-of-00001"), split_of_file("trains"), split_of_file("data")
    ('train', None, None)
    """
    return split_name(re.split(r"[-_.]", stem, maxsplit=1)[0])
