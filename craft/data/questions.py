"""Four-option and open questions about images; a seed gives the same ones on every machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from craft.data import prompts
from craft.data.images.store import ImageStore
from craft.errors import CraftError


@dataclass(frozen=True)
class Question:
    """A question about image ``row`` of an image set, and its answer.

    ``heldout`` tells whether the image's class was held out of training.
    """

    id: str
    row: int
    label: str
    prompt: str
    answer: str
    options: tuple[str, ...] = ()
    heldout: bool = False


class Lesson(NamedTuple):
    """A training example: prompt and answer about image ``row``, and its contrastive text.

    ``text`` is an index into the domain's ``texts``. Lessons that share any of their ``keys`` are
    not used as negatives of each other (methods C7).
    """

    row: int
    prompt: str
    answer: str
    text: int
    keys: tuple[int, ...]


def seeded(*key: object) -> random.Random:
    """Make a generator that depends only on ``key``, not on Python's hash seed or earlier calls."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def heldout_classes(classes: Sequence[str], fraction: float = 0.2, seed: int = 0) -> list[str]:
    """Draw floor(fraction * C) of C classes to hold out of training, sorted (methods F3).

    Raises:
        CraftError: ``fraction`` is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise CraftError(f"fraction must be in [0, 1), got {fraction}")
    names = sorted(set(classes))
    return sorted(seeded("holdout", seed).sample(names, int(fraction * len(names))))


def draw_options(label: str, others: Sequence[str], rng: random.Random) -> tuple[list[str], str]:
    """Shuffle ``label`` and three random ``others``; return the options and the right letter."""
    options = [label, *rng.sample(others, 3)]
    rng.shuffle(options)
    return options, prompts.letter(options.index(label))


def four_options(
    ids: Sequence[str],
    labels: Sequence[str],
    subject: str,
    pool: Sequence[str],
    *,
    heldout: Sequence[str] = (),
    fixed: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> list[Question]:
    """Make a four-option question per image, with random distractors from ``pool``.

    See methods F1 and F2.

    Args:
        fixed: image id -> its options in order, for images whose options are not drawn.

    Raises:
        CraftError: the pool has fewer than three other classes to draw distractors from.
    """
    names = sorted(set(pool))
    kept_out = set(heldout)
    questions = []
    for row, (key, label) in enumerate(zip(ids, labels, strict=True)):
        options = list((fixed or {}).get(key, ()))
        if not options:
            others = [name for name in names if name != label]
            if len(others) < 3:
                raise CraftError(
                    f"a four-option question about {label!r} needs three other classes, "
                    f"the pool has {len(others)}: {others}"
                )
            options, _ = draw_options(label, others, seeded("options", seed, key))
        letter = prompts.letter(options.index(label))
        prompt = prompts.multiple_choice(subject, options)
        questions.append(
            Question(key, row, label, prompt, letter, tuple(options), label in kept_out)
        )
    return questions


@dataclass(frozen=True)
class QuestionSet:
    """Images and questions about them; several questions may be about one image."""

    images: ImageStore
    questions: list[Question]
