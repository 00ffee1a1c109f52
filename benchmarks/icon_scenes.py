"""Scenes of several pocket icons, with a four-option question about one of them.

A scene is a white canvas of 192 x 192 pixels with one or nine icons of 64 x 64, or a canvas of 128
x 128 with four. A pocket encoder sees 48 x 48, so an icon gets 16 x 16 of its pixels (four
patches), or 24 x 24. The question is the one that the pocket language models were trained on; its
wrong options are not in the scene. The seed determines icons, places and options.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from craft.data import prompts
from craft.data.questions import draw_options, seeded
from craft.decoding import Box
from craft.pocket.world import load_area

ICON = 64
#: Kind of scene -> cells per side, and number of cells with an icon.
SCENES = {"one small": (3, 1), "four": (2, 4), "nine": (3, 9)}


@dataclass(frozen=True)
class Scene:
    """A picture, a question about one of its icons, and the place of that icon."""

    image: Image.Image
    question: str
    answer: str
    box: Box


def draw_scenes(kind: str, seed: int, numbers: range) -> list[Scene]:
    """Draw scenes by number, the same ones on every machine."""
    side, filled = SCENES[kind]
    icons = load_area("icons")
    scenes = []
    for number in numbers:
        rng = seeded("laser scenes", kind, seed, number)
        canvas = Image.new("RGB", (side * ICON, side * ICON), "white")
        cells = rng.sample(range(side * side), filled)
        rows = _different(icons.labels, filled, rng)
        for cell, row in zip(cells, rows, strict=True):
            icon = Image.fromarray(icons.images.pixels([row])[0].permute(1, 2, 0).numpy())
            canvas.paste(icon, _corner(cell, side))
        names = [icons.labels[row] for row in rows]
        absent = [name for name in icons.classes if name not in names]
        options, letter = draw_options(names[0], absent, rng)
        question = "\n".join(
            [prompts.QUESTION.format(subject=icons.subject), prompts.option_lines(options)]
        )
        left, top = _corner(cells[0], side)
        scenes.append(Scene(canvas, question, letter, Box(left, top, left + ICON, top + ICON)))
    return scenes


def _corner(cell: int, side: int) -> tuple[int, int]:
    return cell % side * ICON, cell // side * ICON


def _different(labels: Sequence[str], count: int, rng: random.Random) -> list[int]:
    """Rows of ``count`` different classes; the probability of a class is its share of drawings."""
    chosen: dict[str, int] = {}
    while len(chosen) < count:
        row = rng.randrange(len(labels))
        chosen.setdefault(labels[row], row)
    return list(chosen.values())
