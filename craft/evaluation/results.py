"""Typed models of ``results.json``, as written by the evaluation commands, with a format number."""

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
    """Yield a folder to save results in and a file for the predictions behind them.

    After the block both replace earlier ones in ``directory``, never one without the other.

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
        """Compare answers before and after; each list says which questions were answered right.

        Args:
            images: the image of each question, if several questions may share one. The interval is
                then over images, because answers about the same image are correlated.

        Raises:
            CraftError: there are no questions.
        """
        differences = [100.0 * (a - b) for a, b in zip(after, before, strict=True)]
        mean = sum(differences) / max(1, len(differences))
        if images is not None:
            sums: dict[int, float] = dict.fromkeys(images, 0.0)
            for image, difference in zip(images, differences, strict=True):
                sums[image] += difference
            # Divided by the average number of questions per image, which keeps the overall mean.
            differences = [value * len(sums) / len(images) for value in sums.values()]
        return cls(all=mean, interval=interval(differences))

    @property
    def certain(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


class ClassScore(_Entry):
    """Accuracy of one class in per cent, over ``n`` questions."""

    accuracy: float
    n: int
    heldout: bool


class Scores(_Entry):
    """Accuracies in per cent; None if no questions were asked.

    Attributes:
        all, seen, heldout: over all classes, those trained on, and those held out.
        general: on images of what the model knew before.
        n: number of questions for each of the four.
        balanced: mean of the equally weighted classes' accuracies for ``all``, ``seen`` and
            ``heldout``.
        intervals: 95 % bootstrap intervals of ``all``, ``seen`` and ``heldout``.
        lenient: like ``all``, but also accepting right answers in the wrong form.
        classes: class -> its accuracy, worst first.
        likelihood: per cent of questions whose most likely option letter is right, if requested.
        justified: what rules found in the justifications, if requested.
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
        """Whether classes have different numbers of questions, so that ``balanced`` differs."""
        return len({entry.n for entry in self.classes.values()}) > 1


class ResultsFile(BaseModel):
    """A ``results.json``: a command's results and how they were obtained.

    Attributes:
        command: the command that wrote it.
        format: increased whenever a key changes its meaning or is removed.
        versions: of the software used.
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
        """Write ``directory/results.json`` atomically, creating the directory."""
        path = directory / RESULTS
        write_json(path, self.model_dump(mode="json"))
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a results.json, or the one in a directory.

        Raises:
            CraftError: the file is missing, is not JSON, was written by another command, or has
                another format.
        """
        path = path / RESULTS if path.is_dir() else path
        if not path.exists():
            raise CraftError(f"{path} does not exist; name a directory that contains one")
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
    """Settings of a ``craft evaluate`` run.

    Attributes:
        method: the pack's training method.
        general_images: how many were used; 0 if nothing measured forgetting.
    """

    method: str
    general_images: int = 0


class EvaluationResults(ResultsFile):
    """Results of ``craft evaluate``.

    Attributes:
        models: language model -> condition -> scores. Conditions are ``keep_<ratio>`` of the pack
            and ``pretrained``, the pretrained encoder with all tokens.
    """

    COMMAND = "evaluate"

    domain: str
    models: dict[str, dict[str, Scores]]
    settings: EvaluationSettings
    encoder_hash: str
    codebook_fingerprint: str


class ComparisonSettings(TransferSettings):
    """Settings of a ``craft transfer`` run.

    Attributes:
        general_images: how many were used; 0 if nothing measured forgetting.
    """

    general_images: int = 0


class TransferResults(ResultsFile):
    """Results of ``craft transfer``.

    Attributes:
        matrix: encoder -> language model -> scores; the first encoder is ``pretrained``.
        encoder_hashes: of the packs, by row name.
    """

    COMMAND = "transfer"

    domain: str
    matrix: dict[str, dict[str, Scores]]
    settings: ComparisonSettings
    encoder_hashes: dict[str, str]
    codebook_fingerprint: str


class MeanScore(_Entry):
    """Mean in per cent over seeds; ``std`` is the sample standard deviation, None for one seed."""

    mean: float
    std: float | None


class FewShotMode(_Entry):
    """One way to adapt: its number of trained weights and its accuracies."""

    trained: int
    base: MeanScore
    novel: MeanScore
    harmonic_mean: MeanScore


class FewShotResults(ResultsFile):
    """Results of ``craft few-shot``.

    Attributes:
        classes, n: numbers of base and novel classes, and of their test images.
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
