"""Parts that only the paths of images name: ``train/cat/1.png`` without a column ``split``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from craft.data.readers.account import Account
from craft.data.readers.record import Record
from craft.data.readers.splits import split_name

#: The account's reason.
ELSEWHERE = (
    "images in folders named for a part (train, val, test) that their table does not put them in; "
    "give the table a column split"
)


def warn_of_parts_in_paths(records: Sequence[Record], account: Account, base: Path | None) -> None:
    """Warn where parts would be mixed: paths name another part than the records have, or several
    where records have none. One part alone may be all that the data holds.

    Args:
        base: folders from there up are not looked at.
    """
    named = [(record, part) for record in records if (part := _part_of(record.image.named, base))]
    several = len({part for _, part in named}) > 1
    for record, part in named:
        if record.split != part and (record.split is not None or several):
            account.warn(ELSEWHERE, record.place, f"read as {record.split or 'of no part'}")


def _part_of(named: str, base: Path | None) -> str | None:
    """The part that the deepest folder named for one says."""
    path = PurePath(named)
    if base is not None and path.is_absolute():
        if not path.is_relative_to(base.absolute()):
            return None
        path = path.relative_to(base.absolute())
    return next(filter(None, map(split_name, reversed(path.parts[:-1]))), None)
