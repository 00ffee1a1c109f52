"""From records to a domain: held-out classes, splits, questions, and the manifest of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from craft.data import class_names
from craft.data.domains.class_domain import ClassDomain
from craft.data.domains.domain import Domain
from craft.data.domains.manifest import ClassEntry, DomainManifest, Parts
from craft.data.domains.question_domain import QuestionDomain
from craft.data.domains.splitting import split_records
from craft.data.images.image_set import ImageSet
from craft.data.images.known_digests import digests
from craft.data.images.record_store import RecordStore
from craft.data.questions import heldout_classes
from craft.data.readers import DataError, Place, ReadOptions, Record, RecordSet
from craft.data.readers.place import shown
from craft.errors import CraftError


def make_manifest(
    records: RecordSet,
    *,
    name: str | None = None,
    subject: str = "object",
    reading: ReadOptions | None = None,
    dataset: str | None = None,
    from_hub: bool = False,
    heldout_fraction: float = 0.2,
    split_seed: int = 0,
    names: dict[str, str] | None = None,
) -> DomainManifest:
    """Decide how a data set becomes a domain, which :func:`build_domain` then builds.

    Args:
        subject: what questions call the objects shown.
        heldout_fraction: fraction of the classes, rounded down, to hold out of training
            (methods F3).
        names: class label -> its name in questions; by default the label, with underscores as
            spaces.

    Raises:
        DataError: there are too few classes or images; see also
            :func:`~craft.data.domains.splitting.split_records`.
        CraftError: two classes have the same name.
    """
    hashes = digests(records.records)
    entries: tuple[ClassEntry, ...] = ()
    if records.labelled:
        _require_names(records, names or {})
        called = {x: (names or {}).get(x) or class_names.spoken(x) for x in records.labels}
        class_names.require_distinct(called.values())
        heldout = set(heldout_classes(list(called.values()), heldout_fraction, split_seed))
        entries = tuple(ClassEntry(id=x, name=n, heldout=n in heldout) for x, n in called.items())
        _require_options(records, entries)
    out = {entry.id for entry in entries if entry.heldout}
    train, val, test, unused, notes = split_records(records, hashes, out, split_seed)
    for part, rows in (("training", train), ("validation", val), ("test", test)):
        if not rows:
            raise DataError(
                Place(records.path),
                f"no images left for {part}; add images, or define the splits yourself",
            )

    def ids(rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(records.records[row].id for row in rows)

    return DomainManifest(
        name=name or shown(records.path.stem),
        kind="classes" if records.labelled else "questions",
        source=shown(records.path if from_hub else records.path.resolve()),
        from_hub=from_hub,
        reading=reading or ReadOptions(),
        dataset=dataset,
        content=content_hash(records, hashes),
        subject=subject,
        split_seed=split_seed,
        heldout_fraction=heldout_fraction,
        classes=entries,
        parts=Parts(train=ids(train), val=ids(val), test=ids(test), unused=ids(unused)),
        notes=tuple(notes),
        account=records.account.summary(len(records)),
    )


def _require_names(records: RecordSet, names: dict[str, str]) -> None:
    """Refuse numbers as class names, since no image can answer questions about them."""
    if records.numbered and not all(label in names for label in records.labels):
        raise DataError(
            records.records[0].place,
            f"label {records.records[0].label} is a number, like all labels, and the data does not "
            "say what the numbers mean; give the names (--class-names FILE)",
        )


def _require_options(records: RecordSet, entries: Sequence[ClassEntry]) -> None:
    seen = [entry.name for entry in entries if not entry.heldout]
    if len(seen) < 4:
        raise DataError(
            Place(records.path),
            f"four-option questions need four classes to train on, there are {len(seen)}: {seen}; "
            "for two or three classes, write the questions and options yourself "
            "(a table with question, options and answer)",
        )


def content_hash(records: RecordSet, digests: Sequence[str]) -> str:
    """Hash ids, images, labels, questions and captions, independent of the order of records."""
    lines = sorted(
        repr((r.id, digest, r.label, [(t.prompt, t.target) for t in r.turns], r.captions))
        for r, digest in zip(records, digests, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def build_domain(records: RecordSet, manifest: DomainManifest, size: int) -> Domain:
    """Build the domain that a manifest describes; images are decoded, at ``size``, when used.

    Raises:
        DataError: the manifest was made for other data.
        CraftError: a held-out class, by id or by name, is among the training images.
    """
    found = content_hash(records, digests(records.records))
    if found != manifest.content:
        raise DataError(
            Place(records.path),
            f"the data is not what the manifest was made for: its hash is {found[:12]}, the "
            f"manifest says {manifest.content[:12]}; adapt again, or restore the original data",
        )
    by_id = {record.id: record for record in records}
    labels = {entry.id: entry.name for entry in manifest.classes}

    def part(name: str, keys: Sequence[str]) -> ImageSet:
        return image_set([by_id[key] for key in keys], labels, manifest, name, size)

    parts = manifest.parts
    train, val, test = (part(n, getattr(parts, n)) for n in ("train", "val", "test"))
    if manifest.kind == "questions":
        turns = {record.id: record.turns for record in records}
        captions = {record.id: record.captions for record in records if record.captions}
        return QuestionDomain(manifest.name, train, val, test, turns, captions)
    require_held_out(manifest, by_id)
    return ClassDomain(
        manifest.name,
        manifest.subject,
        sorted(labels.values()),
        manifest.heldout,
        train,
        val,
        test,
        manifest.options,
    )


def image_set(
    records: Sequence[Record],
    names: dict[str, str],
    manifest: DomainManifest,
    split: str,
    size: int,
) -> ImageSet:
    """Make the image set of one part of a domain."""
    captions = [record.captions for record in records]
    return ImageSet(
        area=manifest.name,
        subject=manifest.subject,
        images=RecordStore.opened(records, size),
        ids=[record.id for record in records],
        labels=[names.get(record.label or "", "") for record in records],
        groups=[""] * len(records),
        styles=[""] * len(records),
        splits=[split] * len(records),
        captions=captions if any(captions) else [],
    )


def require_held_out(manifest: DomainManifest, records: dict[str, Record]) -> None:
    """Refuse a manifest with a held-out class, by id or by name, in training or validation.

    Raises:
        CraftError: there is one; the message names the image.
    """
    out = {entry.id for entry in manifest.classes if entry.heldout}
    called = {entry.id: entry.name for entry in manifest.classes}
    names = {class_names.name_key(name) for name in manifest.heldout}
    for key in (*manifest.parts.train, *manifest.parts.val):
        label = records[key].label or ""
        name = called[label]
        if label in out or class_names.name_key(name) in names:
            raise CraftError(f"image {key!r} of the held-out class {name!r} is in training")
