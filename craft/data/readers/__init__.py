"""Readers of users' data: the format is detected, the content checked and converted to records.

``read_records(path)`` is the entry point; each format has its own module. CSV, JSON and tar files
are parsed by Python's standard library and Parquet by pyarrow. These readers add the row, line,
sample or row group that is wrong, and how to fix it. Libraries report a parser's error without a
place, or stop silently, as tarfile does at a damaged header.
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
