"""Every choice that made a domain of a data set, in one JSON file: repeatable and comparable."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from craft.data.readers import AccountSummary, ReadOptions
from craft.runtime.json_cards import read_card
from craft.runtime.whole_file import write_text

MANIFEST = "domain.json"
Distractors = Literal["random", "hard", "file"]


class ClassEntry(BaseModel):
    """A class: its label in the data, its name in questions, whether it is kept out of training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    heldout: bool


class Parts(BaseModel):
    """Record ids of each part, none in two. ``unused`` are training images of held-out classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    unused: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _disjoint(self) -> Parts:
        """An image that was learnt from examines nothing."""
        seen: dict[str, str] = {}
        for part in ("train", "val", "test", "unused"):
            for name in getattr(self, part):
                if name in seen:
                    raise ValueError(f"record {name!r:.80} is in {seen[name]} and in {part}")
                seen[name] = part
        return self


class DomainManifest(BaseModel):
    """What, with the data itself, gives the very same domain again.

    Args:
        kind: records with class labels, or with questions.
        source: where the data lay: a path, or a hub repository if ``from_hub``.
        dataset: key in the registry, if it is one of those data sets.
        reading: how it was read.
        content: hash of all records, images included; other data is refused.
        distractors: where wrong options come from; scores under two of them are not comparable.
        options: test image id -> its options in the order asked; where there are none, they are
            drawn by the image's id.
        notes: in words how parts came about.
        account: what was read, skipped and why; None in manifests of format 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1, 2] = 2
    name: str
    kind: Literal["classes", "questions"]
    source: str
    from_hub: bool = False
    reading: ReadOptions
    dataset: str | None = None
    content: str
    subject: str
    split_seed: int
    heldout_fraction: float
    classes: tuple[ClassEntry, ...] = ()
    parts: Parts
    distractors: Distractors = "random"
    options: dict[str, tuple[str, ...]] = {}
    notes: tuple[str, ...] = ()
    account: AccountSummary | None = None

    @property
    def heldout(self) -> list[str]:
        """Names of the classes kept out of training."""
        return [entry.name for entry in self.classes if entry.heldout]

    def save(self, path: Path) -> None:
        """Write the manifest as JSON."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> DomainManifest:
        """Read what :meth:`save` wrote.

        Raises:
            StoredFileError: not a manifest, or of a newer format; names the field.
        """
        # Strict: another seed for true, or a class held out for "yes", was never written.
        return read_card(path, "a domain manifest", cls, strict=True)
