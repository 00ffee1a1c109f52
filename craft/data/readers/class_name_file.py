"""The file of --class-names: a list for labels that are numbers, or a table of any labels."""

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

#: What the first row says over labels or over names if it is a header: words that no class bears,
#: as "text", "title" or "key" might be.
_LABELS = frozenset(
    {"label", "labels", "label_id", "id", "class", "class_id", "classid", "index", "idx"}
    | {"number", "nr", "no", "no.", "num", "wnid", "synset"}
)
_NAMES = frozenset(
    {"name", "names", "class_name", "classname", "class name", "label_name", "labelname"}
    | {"label name"}
)


def read_class_names(path: Path) -> tuple[str, ...] | dict[str, str]:
    """Names in the order of the numbers from 0, or label -> name.

    A text file holds one name per line, a JSON file a list of names or an object of label and name,
    a CSV or TSV file two columns, with or without a header. The first row is a header if it has a
    usual word for labels first (``label``, ``nr``, ``id``) or for names second (``name``,
    ``class_name``); any other header is taken for a label, and told as one that the data lacks.

    Raises:
        DataError: another layout, an empty name, or a label given twice.
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
