"""The account of everything that was skipped or looked wrong while data was read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from craft.data.readers.place import Place, shown

#: The reason that all readers and the decoder give for an image that cannot be decoded.
UNREADABLE = "images that cannot be read"

#: The reason for names of files and members that no text file can hold as they are.
NOT_UTF8 = r"names that are not UTF-8; ids show their bytes as \x.."

#: How many places a summary keeps per reason; the count has no limit.
KEPT = 1000


class Tally(BaseModel):
    """Findings of one kind.

    Args:
        reason: what they have in common, in the plural: "images that cannot be read".
        count: their number.
        places: where they are and what was wrong there; the first :data:`KEPT` of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str
    count: int
    places: tuple[str, ...] = ()


class AccountSummary(BaseModel):
    """An account as stored in the manifest of a domain.

    Args:
        records: number of records read.
        skipped: what was left out, by reason.
        warnings: what was read although it looks wrong, by reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    records: int
    skipped: tuple[Tally, ...] = ()
    warnings: tuple[Tally, ...] = ()

    def lines(self, limit: int = 8) -> Iterator[tuple[str, str]]:
        """Iterate over pairs of a heading ("skipped", "warning" or, for a place, "") and a text.

        Args:
            limit: largest number of places per reason.
        """
        for heading, tallies in (("skipped", self.skipped), ("warning", self.warnings)):
            for tally in tallies:
                yield heading, f"{tally.count} {tally.reason}"
                for place in tally.places[:limit]:
                    yield "", place
                if tally.count > limit:
                    yield "", f"and {tally.count - limit} more"


class Account:
    """Collects everything that is skipped or looks wrong while data is read.

    All readers and the image decoder add to the same account. ``craft data check``, ``adapt`` and
    ``evaluate`` print it, and the domain's manifest stores its :meth:`summary`.

    Example:
        >>> account = Account()
        >>> account.skip(UNREADABLE, Place(Path("a.png")), "cut short")
        >>> account.skipped(UNREADABLE)
        ('a.png: cut short',)
    """

    def __init__(self) -> None:
        self._skipped: dict[str, list[str]] = {}
        self._warnings: dict[str, list[str]] = {}

    def skip(self, reason: str, place: Place | Path, detail: str = "") -> None:
        """Record something that was left out.

        Args:
            reason: what it is, in the plural and without the place; findings are counted by reason.
            place: where it is.
            detail: what is wrong with this one.
        """
        self._skipped.setdefault(reason, []).append(_entry(place, detail))

    def warn(self, reason: str, place: Place | Path, detail: str = "") -> None:
        """Record something that was read but may be wrong. Arguments as for :meth:`skip`."""
        self._warnings.setdefault(reason, []).append(_entry(place, detail))

    def include(self, other: Account) -> None:
        """Add the content of another account."""
        for mine, theirs in (
            (self._skipped, other._skipped),
            (self._warnings, other._warnings),
        ):
            for reason, places in theirs.items():
                mine.setdefault(reason, []).extend(places)

    def skipped(self, reason: str) -> tuple[str, ...]:
        """Return the places of everything that was left out for ``reason``."""
        return tuple(self._skipped.get(reason, ()))

    def summary(self, records: int) -> AccountSummary:
        """Summarise the account of a data set with ``records`` records."""
        return AccountSummary(
            records=records, skipped=_tallies(self._skipped), warnings=_tallies(self._warnings)
        )


def _entry(place: Place | Path, detail: str) -> str:
    where = shown(place) if isinstance(place, Path) else str(place)
    return f"{where}: {shown(detail)}" if detail else where


def _tallies(found: dict[str, list[str]]) -> tuple[Tally, ...]:
    return tuple(
        Tally(reason=reason, count=len(places), places=tuple(places[:KEPT]))
        for reason, places in found.items()
    )
