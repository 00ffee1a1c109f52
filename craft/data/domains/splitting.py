"""Training, validation and test: as the data gives them, or drawn by seed (methods F7)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from craft.data.questions import seeded
from craft.data.readers import DataError, Place, Record, RecordSet

TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.1


class Splits(NamedTuple):
    """Rows of a record set, and in words where they come from.

    ``unused`` are training and validation images of held-out classes.
    """

    train: list[int]
    val: list[int]
    test: list[int]
    unused: list[int]
    notes: list[str]


def split_records(
    records: RecordSet, digests: Sequence[str], heldout: Collection[str] = (), seed: int = 0
) -> Splits:
    """Give every record one of three parts. Images with equal files stay together.

    Splits the data names are kept; a missing validation part is a tenth of the training images, a
    missing test part a fifth of all, class by class. Where every class has a single training image,
    a tenth of the classes validates instead.

    Args:
        digests: one hash of the image file a record.
        heldout: labels that neither train nor validate.

    Raises:
        DataError: only some records name a split, nothing to train on, or a class with a single
            image when parts have to be drawn.
    """
    named = set(records.split_counts)
    if None in named and len(named) > 1:
        loose = next(r for r in records if r.split is None)
        raise DataError(loose.place, "names no split, but others do; give all of them one or none")
    rows = range(len(records))
    notes = []
    whole = "every class" if records.labelled else "the images"

    def of(*names: str | None) -> list[int]:
        return [row for row in rows if records.records[row].split in names]

    if named <= {None, "train"}:
        _require_two(records)
        test, train = _draw(records, digests, list(rows), TEST_FRACTION, f"test {seed}")
        notes.append(f"test: {TEST_FRACTION:.0%} of {whole}, drawn with seed {seed}")
        val = []
    elif "train" not in named:
        raise DataError(Place(records.path), f"no training part, only {sorted(map(str, named))}")
    elif "test" not in named:
        train, val, test = of("train"), [], of("val")
        notes.append("test: the data's validation part, as it names no test part")
    else:
        train, val, test = of("train"), of("val"), of("test")
    unused = [row for row in [*train, *val] if records.records[row].label in heldout]
    train = [row for row in train if records.records[row].label not in heldout]
    val = [row for row in val if records.records[row].label not in heldout]
    if not val:
        val, rest = _draw(
            records, digests, train, VALIDATION_FRACTION, f"val {seed}", every_class=False
        )
        notes.append(
            f"validation: {VALIDATION_FRACTION:.0%} of the images left for training, spread over "
            f"the classes and drawn with seed {seed}"
            if records.labelled
            else f"validation: {VALIDATION_FRACTION:.0%} of the images left for training, drawn "
            f"with seed {seed}"
        )
        if not val and records.labelled:
            val, rest = _draw_classes(records, train, f"val {seed}")
            notes[-1] = (
                f"validation: {VALIDATION_FRACTION:.0%} of the classes left for training, as each "
                f"has a single image; drawn with seed {seed}"
            )
        train = rest
    shared = {digests[row] for row in test} & {digests[row] for row in [*train, *val]}
    if shared:
        notes.append(f"{len(shared)} images are in the test part and in training or validation")
    return Splits(train, val, test, unused, notes)


def _draw_classes(records: RecordSet, rows: list[int], key: str) -> tuple[list[int], list[int]]:
    """The images of a tenth of the classes, of four at least, and the rest."""
    names = sorted({records.records[row].label or "" for row in rows})
    count = max(4, round(VALIDATION_FRACTION * len(names)))
    if len(names) < count + 4:
        return [], rows
    drawn = set(seeded(key).sample(names, count))
    return (
        [row for row in rows if records.records[row].label in drawn],
        [row for row in rows if records.records[row].label not in drawn],
    )


def _draw(
    records: RecordSet,
    digests: Sequence[str],
    rows: list[int],
    fraction: float,
    key: str,
    every_class: bool = True,
) -> tuple[list[int], list[int]]:
    """A share of the images, class by class, and the rest; no class gives its last image.

    Args:
        every_class: at least one image of each, however many that makes; otherwise the share is
            that of all images, and which small classes give one is drawn.
    """
    classes: dict[str, dict[str, list[int]]] = {}
    home: dict[str, str] = {}  # one image under two classes goes with the first
    for row in rows:
        label = home.setdefault(digests[row], records.records[row].label or "")
        classes.setdefault(label, {}).setdefault(digests[row], []).append(row)
    drawn: set[int] = set()
    sizes = {label: len(images) for label, images in sorted(classes.items())}
    if every_class:
        counts = {x: min(max(1, round(fraction * n)), n - 1) for x, n in sizes.items()}
    else:
        counts = _share(sizes, fraction, key)
    for label, count in counts.items():
        images = classes[label]
        for image in seeded(key, label).sample(sorted(images), count):
            drawn.update(images[image])
    return [r for r in rows if r in drawn], [r for r in rows if r not in drawn]


def _share(sizes: dict[str, int], fraction: float, key: str) -> dict[str, int]:
    """How many of each class's ``sizes`` make up a fraction of all, at least one in all: whole
    numbers first, then one each from classes that are drawn."""
    counts = {label: int(fraction * size) for label, size in sizes.items()}
    able = [label for label, size in sizes.items() if counts[label] < size - 1]
    wanted = max(1, round(fraction * sum(sizes.values()))) - sum(counts.values())
    for label in seeded(key, "which classes").sample(able, max(0, min(wanted, len(able)))):
        counts[label] += 1
    return counts


def _require_two(records: RecordSet) -> None:
    seen: dict[str | None, list[Record]] = {}
    for record in records:
        seen.setdefault(record.label, []).append(record)
    for label, members in seen.items():
        if len(members) < 2:
            what = "the data" if label is None else f"class {label!r}"
            raise DataError(
                members[0].place,
                f"{what} has a single image, which cannot both train and test; add images, or name "
                "the splits yourself (folders train/ and test/)",
            )
