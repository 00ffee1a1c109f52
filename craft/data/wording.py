"""The texts of a data set, by the model that reads or writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from craft.data import prompts
from craft.data.domains.manifest import DomainManifest
from craft.data.questions import Question
from craft.data.readers import Record


@dataclass(frozen=True)
class Wording:
    """The distinct texts of a data set, sorted.

    Args:
        asked: prompts, with their options, that language models read.
        said: answers that language models write, and options that they must tell apart.
        answers: the subset of ``said`` that are answers.
        contrasted: texts that SigLIP reads in training, without the template around them.
    """

    asked: tuple[str, ...]
    said: tuple[str, ...]
    answers: tuple[str, ...]
    contrasted: tuple[str, ...] = ()

    @classmethod
    def of_records(cls, records: Iterable[Record], manifest: DomainManifest) -> Wording:
        """Collect the texts of records; no image is decoded."""
        records = list(records)
        trained = set(manifest.parts.train)
        captions = [text for r in records if r.id in trained for text in r.captions]
        if manifest.kind == "classes":
            subject, names = manifest.subject, [entry.name for entry in manifest.classes]
            asked = [prompts.short_answer(subject), prompts.multiple_choice(subject, names[:4])]
            seen = [entry.name for entry in manifest.classes if not entry.heldout]
            return cls._of(asked, names, names, [subject, *seen, *captions])
        turns = [turn for record in records for turn in record.turns]
        learnt = [turn for record in records if record.id in trained for turn in record.turns]
        stated = [text for turn in learnt for text in (turn.question, turn.answer)]
        answers = [turn.target for turn in turns]
        options = [option for turn in turns for option in turn.options]
        asked = [turn.prompt for turn in turns]
        return cls._of(asked, [*answers, *options], answers, [*stated, *captions])

    @classmethod
    def of_questions(cls, questions: Sequence[Question]) -> Wording:
        """Collect the texts of questions."""
        answers = [question.answer for question in questions]
        options = [option for question in questions for option in question.options]
        return cls._of([q.prompt for q in questions], [*answers, *options], answers, ())

    @classmethod
    def _of(cls, *texts: Iterable[str]) -> Wording:
        return cls(*(tuple(sorted(set(part))) for part in texts))
