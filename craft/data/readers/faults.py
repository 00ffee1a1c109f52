"""Turns everything that fails while data is read into errors that name the place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from craft.data.readers.place import DataError, Place
from craft.errors import CraftError, MissingPackageError

#: Number of faults after which reading stops.
MOST = 100


class DataFaults(DataError):
    """Several faults of one data set, collected while it was read.

    Args:
        faults: all of them, in the order found; at least two.
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

    Which exception damaged or unexpected data causes depends on the parser: KeyError, TypeError,
    struct.error, UnicodeDecodeError, ArrowInvalid and others. All are treated as faults of the
    data; the original error is kept as the cause.

    Args:
        place: what is being read.
        way_out: what the user can do, appended to messages of other libraries.

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
    """Collects faults while data is read, so that one run reports them all.

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
        """Keep a fault; raise all of them once there are :data:`MOST`."""
        self._found.append(fault)
        if len(self._found) >= MOST:
            self.raise_if_any()

    @contextmanager
    def collected(self, place: Place, way_out: str = "") -> Iterator[None]:
        """Keep the block's failure, if any; see :func:`failures_at`."""
        try:
            with failures_at(place, way_out):
                yield
        except DataError as fault:
            self.add(fault)

    def raise_if_any(self) -> None:
        """Raise the fault if there is one, or a :class:`DataFaults` if there are several."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise DataFaults(self._found)
