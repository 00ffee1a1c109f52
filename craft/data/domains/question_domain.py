"""A domain of images with questions of their own, such as a LLaVA file."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from craft.data.class_names import name_key
from craft.data.images.image_set import ImageSet
from craft.data.questions import Lesson, Question
from craft.data.readers import Turn


@dataclass(frozen=True)
class QuestionDomain:
    """Images to adapt to, with questions and answers instead of classes.

    It has no held-out classes; what is unseen are the images of ``test``.

    Args:
        turns: image id -> its questions.
        captions: image id -> free texts about it, which stand for it beside its statements.
    """

    name: str
    train: ImageSet
    val: ImageSet
    test: ImageSet
    turns: Mapping[str, tuple[Turn, ...]]
    captions: Mapping[str, tuple[str, ...]]

    @property
    def heldout(self) -> list[str]:
        """No class is held out, as there are none."""
        return []

    @property
    def answers(self) -> list[str]:
        """All answers there are, sorted."""
        return sorted({turn.target for turns in self.turns.values() for turn in turns})

    @cached_property
    def _asked(self) -> list[tuple[int, Turn]]:
        """Every training question with the row of its image."""
        return [(row, t) for row, key in enumerate(self.train.ids) for t in self.turns[key]]

    @property
    def texts(self) -> list[str]:
        """The contrastive texts (methods C10): statements and captions, each once."""
        return self._texts

    @cached_property
    def _texts(self) -> list[str]:
        statements = [turn.statement for _, turn in self._asked]
        captions = [text for key in self.train.ids for text in self.captions.get(key, ())]
        return list(dict.fromkeys([*statements, *captions]))

    @cached_property
    def _text_rows(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.texts)}

    @cached_property
    def _statement_keys(self) -> dict[str, int]:
        """Statements that differ in case or spacing alone are one."""
        return {name_key(text): row for row, text in enumerate(self.texts)}

    @property
    def contrastive_weight(self) -> float:
        """The paper's weight of the contrastive loss for images with questions of their own."""
        return 0.1

    @property
    def fixed_questions(self) -> bool:
        """The questions come with the data."""
        return True

    def __len__(self) -> int:
        """How many training questions there are."""
        return len(self._asked)

    def image_of(self, index: int) -> int:
        """The image that training question ``index`` is about."""
        return self._asked[index][0]

    def lesson(self, index: int, rng: random.Random, naming: float) -> Lesson:
        """Training question ``index``; ``naming`` is for domains of classes."""
        row, turn = self._asked[index]
        captions = self.captions.get(self.train.ids[row], ())
        text = rng.choice([turn.statement, *captions]) if captions else turn.statement
        # Images are numbered below zero, so that no image's key is a statement's.
        keys = (-1 - row, self._statement_keys[name_key(turn.statement)])
        return Lesson(row, turn.prompt, turn.target, self._text_rows[text], keys)

    def questions(self, part: ImageSet, seed: int = 0) -> list[Question]:
        """Every question about the images of a part; ``seed`` is for domains of classes."""
        return [
            Question(
                id=key if len(self.turns[key]) == 1 else f"{key}#{number}",
                row=row,
                label="",
                prompt=turn.prompt,
                answer=turn.target,
                options=turn.options,
            )
            for row, key in enumerate(part.ids)
            for number, turn in enumerate(self.turns[key], 1)
        ]
