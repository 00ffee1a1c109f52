"""Reading the data people have: detected, checked, and turned into one kind of record.

``read_records(path)`` is the one call; each format has a file of its own. CSV, JSON and tar are
parsed by Python's own modules and Parquet by pyarrow, but which row, line, sample or row group is
wrong, and what to do about it, is said by us: that is why these readers stay where libraries exist.
Libraries report a parser's error without a place, or end early in silence, as tarfile does at a
damaged header.
"""

from craft.data.readers.account import Account, AccountSummary, Tally
from craft.data.readers.class_name_file import read_class_names
from craft.data.readers.columns import Columns
from craft.data.readers.detect import read_records, without_corrupt
from craft.data.readers.image_report import ImageReport
from craft.data.readers.options import ReadOptions
from craft.data.readers.pixel_range import PixelRange
from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Record, RecordSet, Turn

__all__ = [
    "Account",
    "AccountSummary",
    "Columns",
    "DataError",
    "ImageReport",
    "PixelRange",
    "Place",
    "ReadOptions",
    "Record",
    "RecordSet",
    "Tally",
    "Turn",
    "read_class_names",
    "read_records",
    "without_corrupt",
]
