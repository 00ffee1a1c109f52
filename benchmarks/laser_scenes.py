"""LASER against plain decoding where objects are small: scenes of several pocket icons.

    python -m benchmarks.laser_scenes            # goes on where an earlier run stopped
    python -m benchmarks.laser_scenes --table    # the tables of docs/laser.md

A scene is a white canvas of 192 x 192 pixels with icons of 64 x 64: one alone, or nine. Or 128 x
128 with four. The encoder sees 48 x 48, so an icon gets 16 x 16 of its pixels (four patches), or 24
x 24. The question is the four-option one that the pocket language models were trained on; its wrong
options are not in the scene. Which icons, where, and which options follow from the seed. Crops are
at least 48 pixels wide, the encoder's size, where LASER's 224 belongs to encoders of that size.

Beside LASER and its ablations stand two windows of the same size that look at no attention: one
drawn at random and one centred on the object, which bounds what a better choice could gain.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from PIL import Image

from craft.data import prompts
from craft.data.questions import draw_options, seeded
from craft.decoding import Box, DiscreteReader, Grounded, LaserSettings, laser, plain
from craft.decoding.crop import place_crop
from craft.decoding.masking import cells_within
from craft.evaluation.environment import environment
from craft.evaluation.exact_match import strict_match
from craft.pocket.world import load_area
from craft.pocket.zoo import PocketModels

RESULTS = Path(__file__).parent / "results" / "laser_scenes.json"
SEEDS = (0, 1, 2)
ICON = 64
#: Name of the scene -> cells a side, how many of them hold an icon.
SCENES = {"one small": (3, 1), "four": (2, 4), "nine": (3, 9)}
BASE = LaserSettings(min_side=48)
VARIANTS: dict[str, LaserSettings | None] = {
    "plain": None,
    "LASER": BASE,
    "no VAT": BASE.model_copy(update={"alpha": 0.0}),
    **{
        f"fixed layer {layer}": BASE.model_copy(update={"fixed_layer": layer}) for layer in range(3)
    },
    "tokens dropped": BASE.model_copy(update={"mask_mode": "token_drop"}),
    "crop appended": BASE.model_copy(update={"crop_mode": "append"}),
    "centroid crop": BASE.model_copy(update={"placement": "centroid"}),
}
WINDOWS = ("random window", "window on the object")
TIMED = ("plain", "no VAT", "LASER")
BATCH = 50


@dataclass(frozen=True)
class Scene:
    """A picture, a question about one icon in it, and where that icon is."""

    image: Image.Image
    question: str
    answer: str
    box: Box


def draw_scenes(kind: str, seed: int, count: int) -> list[Scene]:
    """The same scenes for the same arguments on every machine."""
    side, filled = SCENES[kind]
    icons = load_area("icons")
    scenes = []
    for number in range(count):
        rng = seeded("laser scenes", kind, seed, number)
        canvas = Image.new("RGB", (side * ICON, side * ICON), "white")
        cells = rng.sample(range(side * side), filled)
        rows = _different(icons.labels, filled, rng)
        for cell, row in zip(cells, rows, strict=True):
            icon = Image.fromarray(icons.images[row].permute(1, 2, 0).numpy())
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
    """Rows of as many classes; a class is as likely as it has drawings."""
    chosen: dict[str, int] = {}
    while len(chosen) < count:
        row = rng.randrange(len(labels))
        chosen.setdefault(labels[row], row)
    return list(chosen.values())


class SharedLooks(DiscreteReader):
    """Variants that differ after the look share it; it is the same for all of them."""

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self._looks: dict[tuple[int, ...], Any] = {}

    def attend(self, images: Sequence[Image.Image], prompts: Sequence[tuple[str, ...]]) -> Any:
        key = tuple(
            hash((image.tobytes(), texts)) for image, texts in zip(images, prompts, strict=True)
        )
        if key not in self._looks:
            self._looks[key] = super().attend(images, prompts)
        return self._looks[key]


def measure(reader: DiscreteReader, scenes: Sequence[Scene], variant: str, seed: int) -> dict:
    """Accuracy and, where there is a map or a window, how well it points at the object."""
    right: list[bool] = []
    found: dict[str, list[float]] = {"map on object": [], "object in crop": []}
    fallbacks: list[bool] = []
    layers: list[int] = []
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        if variant in WINDOWS:
            windows = [_window(s, variant, seed, start + i) for i, s in enumerate(part)]
            given = _ask(reader, part, None, windows)
            found["object in crop"] += [
                _overlap(s.box, w) for s, w in zip(part, windows, strict=True)
            ]
        else:
            given = _ask(reader, part, VARIANTS[variant])
        right += [strict_match(g.text, s.answer) for g, s in zip(given, part, strict=True)]
        for scene, (_, trace) in zip(part, given, strict=True):
            if trace is None:
                continue
            fallbacks.append(trace.fallback)
            if not trace.fallback:
                layers.append(trace.evidence.layer)
                found["map on object"].append(_mass(trace.evidence.map, scene))
                found["object in crop"].append(_overlap(scene.box, trace.box or trace.view))
    result: dict = {"n": len(right), "accuracy": 100 * mean(right)}
    result |= {name: 100 * mean(values) for name, values in found.items() if values}
    if fallbacks:
        result |= {"fallback": 100 * mean(fallbacks)}
        result["layers"] = [layers.count(layer) for layer in range(3)]
    return result


def _ask(
    reader: DiscreteReader,
    scenes: Sequence[Scene],
    settings: LaserSettings | None,
    windows: Sequence[Box] | None = None,
) -> list[Grounded]:
    images = [scene.image for scene in scenes]
    if windows is not None:
        images = [image.crop(window) for image, window in zip(images, windows, strict=True)]
    questions = [scene.question for scene in scenes]
    how = {"instruction": prompts.ONE_LETTER, "max_new_tokens": 5}
    if settings is None:
        return plain(reader, images, questions, **how)
    return laser(reader, images, questions, settings=settings, **how)


def _window(scene: Scene, variant: str, seed: int, number: int) -> Box:
    """Half the scene a side: around its object, or anywhere a crop of LASER could be."""
    cells = torch.zeros(6, 6)
    whole = Box(0, 0, *scene.image.size)
    if variant == "window on the object":
        cells[cells_within(torch.ones(1, 1).bool(), scene.box, whole, (6, 6))] = 1
    else:
        spot = seeded("window", seed, number).randrange(36)
        cells.view(-1)[spot] = 1
    box = place_crop(cells, whole, BASE.model_copy(update={"placement": "centroid"}))
    assert box is not None
    return box


def _overlap(thing: Box, window: Box) -> float:
    """Share of ``thing`` inside ``window``."""
    across = min(thing.right, window.right) - max(thing.left, window.left)
    down = min(thing.bottom, window.bottom) - max(thing.top, window.top)
    return max(0, across) * max(0, down) / (thing.size[0] * thing.size[1])


def _mass(evidence: torch.Tensor, scene: Scene) -> float:
    """Share of the map on the object (attention aggregation); its cells tile the map exactly."""
    whole = Box(0, 0, *scene.image.size)
    rows, columns = evidence.shape
    object_cells = cells_within(torch.ones(1, 1).bool(), scene.box, whole, (rows, columns))
    return float(evidence[object_cells].sum() / evidence.sum())


def time_variants(reader: DiscreteReader, scenes: Sequence[Scene]) -> dict[str, float]:
    """Median milliseconds a question, one question at a time, variants in turn."""
    taken: dict[str, list[float]] = {variant: [] for variant in TIMED}
    for number, scene in enumerate(scenes):
        for variant in TIMED:
            started = time.perf_counter()
            _ask(reader, [scene], VARIANTS[variant])
            if number >= 5:  # warm
                taken[variant].append(1e3 * (time.perf_counter() - started))
    return {variant: median(values) for variant, values in taken.items()}


def run(path: Path, count: int, timed: int) -> None:
    """Measure what ``path`` does not hold yet; it is written after every variant."""
    found = json.loads(path.read_text()) if path.exists() else {"accuracy": {}, "milliseconds": {}}
    found["versions"] = environment()
    zoo = PocketModels.load()

    def keep(part: str, key: str, make: Callable[[], dict]) -> None:
        if key not in found[part]:
            found[part][key] = make()
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(part, key, found[part][key], flush=True)

    for seed in SEEDS:
        for kind in SCENES:
            scenes = draw_scenes(kind, seed, count)
            for name in zoo.names:
                parts = zoo.model(name), zoo.lvlm(name).tokenizer
                shared = SharedLooks(*parts)
                for variant in (*VARIANTS, *WINDOWS):
                    key = f"{name}/{kind}/{variant}/{seed}"
                    keep("accuracy", key, partial(measure, shared, scenes, variant, seed))
                alone = partial(time_variants, DiscreteReader(*parts), scenes[:timed])
                keep("milliseconds", f"{name}/{kind}/{seed}", alone)


def table(path: Path) -> str:
    """Markdown: mean of the seeds and their standard deviation."""
    found = json.loads(path.read_text())
    names = list(dict.fromkeys(key.split("/")[0] for key in found["accuracy"]))
    head = [f"{name}, {kind}" for kind in SCENES for name in names]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for variant in (*VARIANTS, *WINDOWS):
        cells = []
        for kind in SCENES:
            for name in names:
                scores = [
                    found["accuracy"][f"{name}/{kind}/{variant}/{s}"]["accuracy"] for s in SEEDS
                ]
                cells.append(f"{mean(scores):.1f} ±{stdev(scores):.1f}")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    for measure_name in ("map on object", "object in crop"):
        for variant in ("LASER", *(v for v in VARIANTS if v.startswith("fixed")), *WINDOWS):
            cells = [
                [found["accuracy"][f"{name}/{kind}/{variant}/{s}"].get(measure_name) for s in SEEDS]
                for kind in SCENES
                for name in names
            ]
            if cells[0][0] is not None:
                shown = " | ".join(f"{mean(values):.0f}" for values in cells)
                lines.append(f"| {measure_name}, {variant} | {shown} |")
    times = found["milliseconds"]
    for variant in TIMED:
        shown = [
            f"{mean(times[f'{name}/{kind}/{s}'][variant] for s in SEEDS):.1f}"
            for kind in SCENES
            for name in names
        ]
        lines.append(f"| ms a question, {variant} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--count", type=int, default=150, help="scenes of each kind and seed")
    parser.add_argument("--timed", type=int, default=25, help="of them timed one by one")
    parser.add_argument("--table", action="store_true", help="print the tables only")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.out, arguments.count, arguments.timed)
    print(table(arguments.out))
