"""Training, validation and test splits: those of the data, or drawn with a seed (methods F7)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from craft.data.questions import seeded
from craft.data.readers import DataError, Place, Record, RecordSet

TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.1


class Splits(NamedTuple):
    """Rows of a record set by split, and notes on how the splits were made.

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
    """Assign every record to training, validation or test; identical image files stay together.

    Splits given by the data are kept. If there is no validation split, a tenth of the training
    images is drawn for it; if there is no test split, a fifth of all images, class by class. If
    every class has a single training image, a tenth of the classes is used for validation instead.

    Args:
        digests: a hash of the image file per record.
        heldout: labels that are used neither for training nor for validation.

    Raises:
        DataError: only some records have a split; there is no training split; or a class has a
            single image and splits have to be drawn.
    """
    named = set(records.split_counts)
    if None in named and len(named) > 1:
        loose = next(r for r in records if r.split is None)
        raise DataError(loose.place, "names no split, but others do; give all or none of them one")
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
        raise DataError(Place(records.path), f"no training split, only {sorted(map(str, named))}")
    elif "test" not in named:
        train, val, test = of("train"), [], of("val")
        notes.append("test: the data's validation split, since it has no test split")
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
                f"validation: {VALIDATION_FRACTION:.0%} of the classes left for training, since "
                f"each has a single image; drawn with seed {seed}"
            )
        train = rest
    shared = {digests[row] for row in test} & {digests[row] for row in [*train, *val]}
    if shared:
        notes.append(f"{len(shared)} images are in both test and training or validation")
    return Splits(train, val, test, unused, notes)


def _draw_classes(records: RecordSet, rows: list[int], key: str) -> tuple[list[int], list[int]]:
    """Draw the images of a tenth of the classes, at least four; return their rows and the rest."""
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
    """Draw a fraction of the images class by class, never all of a class; return it and the rest.

    Args:
        every_class: draw at least one image of each class, however many that makes. Otherwise the
            fraction is of all images, and the small classes that contribute one are drawn.
    """
    classes: dict[str, dict[str, list[int]]] = {}
    home: dict[str, str] = {}  # an image in two classes counts for the first
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
    """Divide a fraction of all images, at least one, among classes of the given ``sizes``.

    Each class gets its share rounded down; the remainder goes, one each, to classes that are drawn.
    """
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
                f"{what} has a single image, which cannot be in both training and test; add "
                "images, or define the splits yourself (folders train/ and test/)",
            )
