"""Four-option and open questions about images, the same ones for the same seed on every machine."""

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
    """One question about image ``row`` of an image set, and its answer.

    ``heldout`` says that the image's class was kept out of training.
    """

    id: str
    row: int
    label: str
    prompt: str
    answer: str
    options: tuple[str, ...] = ()
    heldout: bool = False


class Lesson(NamedTuple):
    """What one training example teaches: a text about image ``row`` and its contrastive text.

    ``text`` is a row of the domain's ``texts``. Two lessons that share any of ``keys`` are no
    negatives of each other (methods C7).
    """

    row: int
    prompt: str
    answer: str
    text: int
    keys: tuple[int, ...]


def seeded(*key: object) -> random.Random:
    """A generator that depends on the key alone, not on Python's hash seed or earlier calls."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def heldout_classes(classes: Sequence[str], fraction: float = 0.2, seed: int = 0) -> list[str]:
    """floor(fraction * C) classes to keep out of training, by name (methods F3).

    Raises:
        CraftError: fraction outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise CraftError(f"fraction must be in [0, 1), got {fraction}")
    names = sorted(set(classes))
    return sorted(seeded("holdout", seed).sample(names, int(fraction * len(names))))


def draw_options(label: str, others: Sequence[str], rng: random.Random) -> tuple[list[str], str]:
    """``label`` among three random ``others``, shuffled, and the letter it got."""
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
    """One four-option question an image, with random distractors from ``pool`` (methods F1, F2).

    Args:
        fixed: image id -> its options in order, for images whose options are not to be drawn.

    Raises:
        CraftError: fewer than three other classes to draw distractors from.
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
    """Images and questions about them, of which several may be about one."""

    images: ImageStore
    questions: list[Question]
