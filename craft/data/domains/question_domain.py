"""A domain of images that come with questions, such as a LLaVA file."""

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
    """Images with questions and answers instead of classes, to adapt to.

    There are no held-out classes; only the images of ``test`` are unseen.

    Args:
        turns: image id -> its questions and answers.
        captions: image id -> its captions, used as contrastive texts in addition to its statements.
    """

    name: str
    train: ImageSet
    val: ImageSet
    test: ImageSet
    turns: Mapping[str, tuple[Turn, ...]]
    captions: Mapping[str, tuple[str, ...]]

    @property
    def heldout(self) -> list[str]:
        """Empty, since there are no classes."""
        return []

    @property
    def answers(self) -> list[str]:
        """All distinct answers, sorted."""
        return sorted({turn.target for turns in self.turns.values() for turn in turns})

    @cached_property
    def _asked(self) -> list[tuple[int, Turn]]:
        """Every training question, with the index of its image in ``train``."""
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
        """Key -> text index; statements that differ only in case or spacing have the same key."""
        return {name_key(text): row for row, text in enumerate(self.texts)}

    @property
    def contrastive_weight(self) -> float:
        """The paper's weight of the contrastive loss for images with questions."""
        return 0.1

    @property
    def fixed_questions(self) -> bool:
        """True: the questions come with the data."""
        return True

    def __len__(self) -> int:
        """The number of training questions."""
        return len(self._asked)

    def image_of(self, index: int) -> int:
        """The image that training question ``index`` is about."""
        return self._asked[index][0]

    def lesson(self, index: int, rng: random.Random, naming: float) -> Lesson:
        """Make training example ``index``; ``naming`` applies only to domains of classes."""
        row, turn = self._asked[index]
        captions = self.captions.get(self.train.ids[row], ())
        text = rng.choice([turn.statement, *captions]) if captions else turn.statement
        # Keys of images are negative, so that they differ from those of statements.
        keys = (-1 - row, self._statement_keys[name_key(turn.statement)])
        return Lesson(row, turn.prompt, turn.target, self._text_rows[text], keys)

    def questions(self, part: ImageSet, seed: int = 0) -> list[Question]:
        """List the questions about the images of a part; ``seed`` applies only to classes."""
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
