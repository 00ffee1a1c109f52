"""Output of ``craft data``: how data was understood, and samples as the models will see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from craft.data import prompts
from craft.data.domains.manifest import DomainManifest
from craft.data.images.record_store import squash
from craft.data.known.registry import DatasetEntry
from craft.data.questions import four_options, seeded
from craft.data.readers import AccountSummary, ImageReport, Record, RecordSet
from craft.runtime.plain_text import on_one_line

_SHOWN = 8
_TILE = 192


@dataclass(frozen=True)
class Sample:
    """One record as the model will see it: prompt, answer, and the image at the encoder's size."""

    record: Record
    part: str
    prompt: str
    answer: str
    original: Image.Image
    image: Image.Image

    @classmethod
    def of(cls, records: RecordSet, manifest: DomainManifest, size: int) -> list[Sample]:
        """Draw a test image and two training images, always the same ones.

        Raises:
            DataError: one of their images cannot be decoded.
        """
        by_id = {record.id: record for record in records}
        names = {entry.id: entry.name for entry in manifest.classes}
        parts = manifest.parts
        chosen = [("test", key) for key in seeded("sample", "test").sample(parts.test, 1)]
        rng = seeded("sample", "train")
        chosen += [("train", k) for k in rng.sample(parts.train, min(2, len(parts.train)))]
        seen = [entry.name for entry in manifest.classes if not entry.heldout]
        samples = []
        for number, (part, key) in enumerate(chosen):
            record = by_id[key]
            if record.turns:
                prompt, answer = record.turns[0].prompt, record.turns[0].target
            elif number == 2:
                prompt, answer = prompts.short_answer(manifest.subject), names[record.label or ""]
            else:
                pool = sorted(names.values()) if part == "test" else seen
                label = names[record.label or ""]
                (question,) = four_options([key], [label], manifest.subject, pool)
                prompt, answer = question.prompt, question.answer
            original = record.rgb()
            samples.append(cls(record, part, prompt, answer, original, squash(original, size)))
        return samples


def print_records(console: Console, records: RecordSet, manifest: DomainManifest) -> None:
    """Print format, counts, classes, parts and every note of the reader."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    kind = f"{len(records.labels)} classes" if records.labelled else "questions"
    table.add_row(str(records.path), f"{records.format}: {len(records)} images, {kind}")
    if records.labelled:
        table.add_row("classes", _some([entry.name for entry in manifest.classes]))
        table.add_row("held out", _some(manifest.heldout) or "none")
        table.add_row("asked", prompts.QUESTION.format(subject=manifest.subject))
    else:
        table.add_row("questions", str(sum(len(record.turns) for record in records)))
    captions = sum(len(record.captions) for record in records)
    if captions:
        table.add_row("captions", f"{captions}, for the contrastive loss")
    parts = manifest.parts
    counts = f"{len(parts.train)} train, {len(parts.val)} validation, {len(parts.test)} test"
    if parts.unused:
        counts += f", {len(parts.unused)} of held-out classes unused"
    table.add_row("parts", counts)
    for note in (*records.notes, *manifest.notes):
        table.add_row("", on_one_line(note))
    console.print(table, highlight=False)


def print_account(console: Console, account: AccountSummary | None, limit: int = _SHOWN) -> None:
    """Print what was skipped or looks wrong, if anything: per reason, its count and first places.

    Args:
        limit: places shown per reason.
    """
    if account is None or not (account.skipped or account.warnings):
        return
    for heading, found in account.lines(limit):
        text = on_one_line(found)
        line = Text.assemble((heading, "bold"), " ", text) if heading else Text(f"  {text}")
        console.print(line, highlight=False, soft_wrap=True)


def print_way_out(console: Console, report: ImageReport) -> None:
    """Print what to do about missing or damaged images, if there are any."""
    if report.damaged:
        told = f"{report.damaged} images are missing or damaged; --skip-corrupt leaves them out"
        console.print(f"{told} and lists them", highlight=False, soft_wrap=True)


def print_samples(console: Console, samples: Sequence[Sample], size: int) -> None:
    """Print prompt and answer as text, and how the image is resized."""
    for sample in samples:
        width, height = sample.original.size
        console.rule(f"{sample.part}: {on_one_line(sample.record.id)}", align="left")
        console.print(f"image {width}×{height} → {size}×{size}", highlight=False)
        console.print(sample.prompt)
        console.print(f"→ {sample.answer}", style="bold")


def sample_sheet(samples: Sequence[Sample]) -> Image.Image:
    """The samples side by side as the encoder sees them, with enlarged pixels."""
    sheet = Image.new("RGB", (_TILE * len(samples), _TILE), "white")
    for i, sample in enumerate(samples):
        tile = sample.image.resize((_TILE, _TILE), Image.Resampling.NEAREST)
        sheet.paste(tile, (i * _TILE, 0))
    return sheet


def registry_table(entries: Iterable[DatasetEntry]) -> Table:
    """One row per data set."""
    table = Table()
    for heading in ("key", "data set", "hub repository", "size", "licence"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        sizes = ", ".join(f"{n:,} {part}" for part, n in entry.sizes[0].items())
        table.add_row(entry.key, entry.title, entry.hub_id or "none", sizes, entry.licence)
    return table


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(on_one_line, names[:_SHOWN])) + more
