"""What the examining commands write: ``results.json`` as typed models with a format number."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, TextIO

from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from craft.errors import CraftError
from craft.evaluation.bootstrap import interval
from craft.runtime.json_cards import as_card, read_json
from craft.runtime.processes import ALONE, Processes
from craft.runtime.whole_file import write_json
from craft.runtime.whole_folder import parts_swapped
from craft.settings.exams import ExamSettings, TransferSettings

RESULTS, PREDICTIONS = "results.json", "predictions.jsonl"


@contextmanager
def written_together(
    directory: Path, processes: Processes = ALONE
) -> Generator[tuple[Path, TextIO]]:
    """Yield a folder to save results in, and a file for the predictions behind them; after the
    block both take the places of earlier ones in ``directory``, never one without the other.

    Args:
        processes: the first one writes; what others write is dropped.

    Raises:
        OSError: see :func:`~craft.runtime.whole_folder.parts_swapped`.
    """
    if not processes.is_main:
        with TemporaryDirectory() as aside, open(os.devnull, "w", encoding="utf-8") as nowhere:
            yield Path(aside), nowhere
        return
    with (
        parts_swapped(directory, (PREDICTIONS,), RESULTS) as written,
        (written / PREDICTIONS).open("x", encoding="utf-8") as predictions,
    ):
        yield written, predictions


#: Bounds of a 95 % interval: lower, upper.
Interval = tuple[float, float]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gain(_Entry):
    """Points over the pretrained encoder on the same questions.

    ``interval`` is the 95 % bootstrap interval of the difference, paired question by question.
    """

    all: float
    interval: Interval

    @classmethod
    def between(
        cls,
        before: Sequence[bool],
        after: Sequence[bool],
        images: Sequence[int] | None = None,
    ) -> Self:
        """Of answers being right, a value a question, in the same order.

        Args:
            images: the image of each question, where several questions may be about one: images are
                then drawn for the interval, because answers about one image are alike.

        Raises:
            CraftError: no questions.
        """
        differences = [100.0 * (a - b) for a, b in zip(after, before, strict=True)]
        mean = sum(differences) / max(1, len(differences))
        if images is not None:
            sums: dict[int, float] = dict.fromkeys(images, 0.0)
            for image, difference in zip(images, differences, strict=True):
                sums[image] += difference
            # Divided by the questions an image has on average, so that the mean stays that of all.
            differences = [value * len(sums) / len(images) for value in sums.values()]
        return cls(all=mean, interval=interval(differences))

    @property
    def certain(self) -> bool:
        """The interval does not include 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


class ClassScore(_Entry):
    """Per cent right of one class, from ``n`` questions."""

    accuracy: float
    n: int
    heldout: bool


class Scores(_Entry):
    """Accuracies in per cent; None where nothing was asked.

    Attributes:
        all, seen, heldout: over all classes, over those trained on, over those held out.
        general: on images of what the model knew before.
        n: questions behind each of the four.
        balanced: the mean of the classes' accuracies, each class counting the same; ``all``,
            ``seen`` and ``heldout``.
        intervals: 95 % bootstrap intervals of ``all``, ``seen`` and ``heldout``.
        lenient: like ``all``, forgiving the wrong form of a right answer.
        classes: class -> its own accuracy, worst first.
        likelihood: per cent of questions whose likeliest option letter is right, if asked for.
        justified: what rules found in the justifications, if asked for.
        gain: over the pretrained encoder, if that was examined too.
        surrogate: language model that the encoder was adapted with, if known.
    """

    all: float | None
    seen: float | None
    heldout: float | None
    general: float | None
    n: dict[str, int]
    balanced: dict[str, float | None]
    intervals: dict[str, Interval | None]
    lenient: float | None
    classes: dict[str, ClassScore] = {}
    likelihood: float | None = None
    justified: dict[str, float | int | None] | None = None
    gain: Gain | None = None
    surrogate: str | None = None

    @property
    def unequal(self) -> bool:
        """Classes have different numbers of questions, so that ``balanced`` says something new."""
        return len({entry.n for entry in self.classes.values()}) > 1


class ResultsFile(BaseModel):
    """A ``results.json``: what a command found, and how it came about.

    Attributes:
        command: the command that wrote it.
        format: raised whenever a key changes its meaning or goes.
        versions: of what it was measured with.
    """

    model_config = ConfigDict(extra="forbid")

    COMMAND: ClassVar[str]
    FORMAT: ClassVar[int] = 2

    command: str
    format: int
    versions: dict[str, str]

    @classmethod
    def of(cls, **found: Any) -> Self:
        """Results of this version's format."""
        return cls(command=cls.COMMAND, format=cls.FORMAT, **found)

    def save(self, directory: Path) -> Path:
        """Write ``directory/results.json``, whole or not at all; the directory is made."""
        path = directory / RESULTS
        write_json(path, self.model_dump(mode="json"))
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a results.json, or the one in a directory.

        Raises:
            CraftError: no such file, not JSON, written by another command, or of another format.
        """
        path = path / RESULTS if path.is_dir() else path
        if not path.exists():
            raise CraftError(f"{path} does not exist; name a directory that holds one")
        found = read_json(path, "results")
        written, command = found.get("format"), found.get("command")
        if written is True or written != cls.FORMAT:
            raise CraftError(
                f"{path} has format {written!r:.60}, this version reads {cls.FORMAT}; run "
                f"craft {cls.COMMAND} again, or read it with the version that wrote it "
                f"({_writer(found)})"
            )
        if command != cls.COMMAND:
            raise CraftError(
                f"{path} was written by craft {command!r:.60}, expected results of craft "
                f"{cls.COMMAND}"
            )
        return as_card(found, path, f"what craft {cls.COMMAND} writes", cls, strict=True)


class EvaluationSettings(ExamSettings):
    """What ``craft evaluate`` was asked to do.

    Attributes:
        method: what made the pack.
        general_images: how many there were, 0 where nothing measured forgetting.
    """

    method: str
    general_images: int = 0


class EvaluationResults(ResultsFile):
    """Of ``craft evaluate``.

    Attributes:
        models: language model -> condition -> scores. Conditions are ``keep_<ratio>`` of the pack
            and ``pretrained``, the encoder as it was before, on all tokens.
    """

    COMMAND = "evaluate"

    domain: str
    models: dict[str, dict[str, Scores]]
    settings: EvaluationSettings
    encoder_hash: str
    codebook_fingerprint: str


class ComparisonSettings(TransferSettings):
    """What ``craft transfer`` was asked to do.

    Attributes:
        general_images: how many there were, 0 where nothing measured forgetting.
    """

    general_images: int = 0


class TransferResults(ResultsFile):
    """Of ``craft transfer``.

    Attributes:
        matrix: encoder -> language model -> scores; the first encoder is ``pretrained``.
        encoder_hashes: of the packs, by the name of their row.
    """

    COMMAND = "transfer"

    domain: str
    matrix: dict[str, dict[str, Scores]]
    settings: ComparisonSettings
    encoder_hashes: dict[str, str]
    codebook_fingerprint: str


class MeanScore(_Entry):
    """Per cent, over seeds; ``std`` is the sample standard deviation, None for one seed."""

    mean: float
    std: float | None


class FewShotMode(_Entry):
    """One way to adapt: how many weights it trained, and what it reached."""

    trained: int
    base: MeanScore
    novel: MeanScore
    harmonic_mean: MeanScore


class FewShotResults(ResultsFile):
    """Of ``craft few-shot``.

    Attributes:
        classes, n: how many base and novel classes, and test images of them.
        modes: "zero-shot" and each kind of adapter -> its scores.
    """

    COMMAND = "few-shot"

    domain: str
    classes: dict[Literal["base", "novel"], int]
    n: dict[Literal["base", "novel"], int]
    modes: dict[str, FewShotMode]
    seeds: list[int]
    recipe: dict[str, Any]


def _writer(found: dict[str, Any]) -> str:
    versions = found.get("versions")
    known = versions.get("craft") if isinstance(versions, dict) else None
    return f"craft {known!r:.40}" if known else "unknown"
