"""The manifest: every choice that turned a data set into a domain, in one JSON file."""

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
    """A class: its label in the data, its name in questions, and whether it is held out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    heldout: bool


class Parts(BaseModel):
    """Disjoint record ids of each part; ``unused`` are images of held-out classes.

    These would otherwise be in ``train`` or ``val``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    unused: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _disjoint(self) -> Parts:
        """Refuse a record in two parts: no image may be both trained and evaluated on."""
        seen: dict[str, str] = {}
        for part in ("train", "val", "test", "unused"):
            for name in getattr(self, part):
                if name in seen:
                    raise ValueError(f"record {name!r:.80} is in {seen[name]} and in {part}")
                seen[name] = part
        return self


class DomainManifest(BaseModel):
    """Everything that, together with the data, reproduces a domain exactly.

    Args:
        kind: whether records have class labels or questions.
        source: location of the data: a path, or a Hugging Face repository if ``from_hub``.
        dataset: key in the registry, for a data set that has one.
        reading: the options the data was read with.
        content: hash of all records, including images; other data is refused.
        distractors: where wrong options come from; scores with different ones are not comparable.
        options: test image id -> its options in order; for other images they are drawn by id.
        notes: how the parts were made, in words.
        account: what was read, what was skipped and why; None in manifests of format 1.
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
        """Names of the classes held out of training."""
        return [entry.name for entry in self.classes if entry.heldout]

    def save(self, path: Path) -> None:
        """Write the manifest as JSON."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> DomainManifest:
        """Read a manifest that :meth:`save` wrote.

        Raises:
            StoredFileError: the file is not a manifest, or has a newer format; the message names
                the field.
        """
        # Strict, since save never writes true for a seed, or "yes" for a boolean.
        return read_card(path, "a domain manifest", cls, strict=True)
