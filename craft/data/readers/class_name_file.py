"""The file of --class-names: a list of names for numeric labels, or a table of labels and names."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from craft.data.readers.faults import failures_at
from craft.data.readers.file_kinds import suffix
from craft.data.readers.place import DataError, Place
from craft.data.readers.table import text_of_file
from craft.data.readers.walk import require_whole
from craft.runtime.strict_text import parse_json

#: Words that make a first row a header, above labels or names: none that could be a class, as
#: "text", "title" or "key" could.
_LABELS = frozenset(
    {"label", "labels", "label_id", "id", "class", "class_id", "classid", "index", "idx"}
    | {"number", "nr", "no", "no.", "num", "wnid", "synset"}
)
_NAMES = frozenset(
    {"name", "names", "class_name", "classname", "class name", "label_name", "labelname"}
    | {"label name"}
)


def read_class_names(path: Path) -> tuple[str, ...] | dict[str, str]:
    """Read names ordered by class number from 0, or a mapping of label -> name.

    A text file has one name per line; a JSON file a list of names or an object of label and name; a
    CSV or TSV file two columns, with or without a header. The first row is a header if its first
    cell is a usual word for labels (``label``, ``nr``, ``id``) or its second a usual word for names
    (``name``, ``class_name``). Any other header is read as a label, and reported as one that the
    data does not have.

    Raises:
        DataError: the file has another format, a name is empty, or a label is given twice.
    """
    require_whole(path)
    text, place, ending = text_of_file(path), Place(path), suffix(path.name)
    if ending not in {".json", ".csv", ".tsv"}:
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    if ending == ".json":
        with failures_at(place):
            found = parse_json(text, foreign=True)
        if isinstance(found, list) and all(isinstance(name, str) for name in found):
            return tuple(found)
        if not isinstance(found, dict):
            raise DataError(place, 'expected ["name", ...] or {"label": "name", ...}')
        pairs = [[str(label), name] for label, name in found.items()]
    else:
        with failures_at(place):
            delimiter = "\t" if ending == ".tsv" else ","
            pairs = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
        first = [cell.strip().lower() for cell in pairs[0]] if pairs else []
        if first and (first[0] in _LABELS or set(first[1:2]) & _NAMES):
            pairs = pairs[1:]
    names: dict[str, str] = {}
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(x, str) and x.strip() for x in pair):
            raise DataError(place, f"expected a label and a name, got {pair!r:.80}")
        if pair[0].strip() in names:
            raise DataError(place, f"label {pair[0]!r} is given twice")
        names[pair[0].strip()] = pair[1].strip()
    return names
