"""Splits that only image paths reveal: ``train/cat/1.png`` without a ``split`` column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from craft.data.readers.account import Account
from craft.data.readers.record import Record
from craft.data.readers.splits import split_name

#: The account's reason.
ELSEWHERE = (
    "images in folders named after a split (train, val, test) that their table does not assign to "
    "them; add a column split to the table"
)


def warn_of_parts_in_paths(records: Sequence[Record], account: Account, base: Path | None) -> None:
    """Warn if splits would be mixed.

    This is so if paths contain another split than the records have, or several splits and the
    records have none. A single split may be all of the data.

    Args:
        base: this folder and those above it are ignored.
    """
    named = [(record, part) for record in records if (part := _part_of(record.image.named, base))]
    several = len({part for _, part in named}) > 1
    for record, part in named:
        if record.split != part and (record.split is not None or several):
            account.warn(ELSEWHERE, record.place, f"read as {record.split or 'without a split'}")


def _part_of(named: str, base: Path | None) -> str | None:
    """The split of the deepest folder that is named after one."""
    path = PurePath(named)
    if base is not None and path.is_absolute():
        if not path.is_relative_to(base.absolute()):
            return None
        path = path.relative_to(base.absolute())
    return next(filter(None, map(split_name, reversed(path.parts[:-1]))), None)
