"""One place that turns whatever fails while data is read into errors with a place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from craft.data.readers.place import DataError, Place
from craft.errors import CraftError, MissingPackageError

#: Reading ends when so many faults were found.
MOST = 100


class DataFaults(DataError):
    """Several faults of one data set, found in one reading.

    Args:
        faults: every one of them, in the order found; at least two.
    """

    def __init__(self, faults: Sequence[DataError]):
        first, *others = faults
        shown = "; ".join(str(fault) for fault in others[:4])
        more = f"; and {len(others) - 4} more" if len(others) > 4 else ""
        super().__init__(first.place, f"{first.problem}; {len(others)} more faults: {shown}{more}")
        self.faults = tuple(faults)


@contextmanager
def failures_at(place: Place, way_out: str = "") -> Iterator[None]:
    """Turn every failure inside the block into a :class:`DataError`.

    What a parser raises on damaged or unexpected data depends on the parser: KeyError, TypeError,
    struct.error, UnicodeDecodeError, ArrowInvalid and others. Data decides which, so all are the
    data's; the original error stays attached as the cause.

    Args:
        place: what was being read.
        way_out: what the user can do, added to messages that do not come from us.

    Raises:
        DataError: the block failed.
    """
    try:
        yield
    except (DataError, MissingPackageError):
        raise
    except CraftError as error:
        raise DataError(place, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or "no details"
        told = f"cannot be read, {type(error).__name__}: {text:.200}"
        raise DataError(place, f"{told}; {way_out}" if way_out else told) from error


class Faults:
    """Collects the faults of a reading, so that one run tells them all.

    Example:
        >>> faults = Faults()
        >>> with faults.collected(Place(Path("a.csv"), 2)):
        ...     int("three")
        >>> faults.raise_if_any()
        Traceback (most recent call last):
        craft.data.readers.place.DataError: a.csv:2: cannot be read, ValueError: invalid literal ...
    """

    def __init__(self) -> None:
        self._found: list[DataError] = []

    def add(self, fault: DataError) -> None:
        """Keep a fault. Raises all of them when there are :data:`MOST`."""
        self._found.append(fault)
        if len(self._found) >= MOST:
            self.raise_if_any()

    @contextmanager
    def collected(self, place: Place, way_out: str = "") -> Iterator[None]:
        """Keep the failure of the block, if it fails; see :func:`failures_at`."""
        try:
            with failures_at(place, way_out):
                yield
        except DataError as fault:
            self.add(fault)

    def raise_if_any(self) -> None:
        """Raise the one fault there is, or a :class:`DataFaults` of several."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise DataFaults(self._found)
