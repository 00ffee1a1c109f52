"""LASER compared with plain decoding on small objects, in the scenes of benchmarks/icon_scenes.py.

    python -m benchmarks.laser_scenes            # resumes where an earlier run stopped
    python -m benchmarks.laser_scenes --table    # the tables of docs/laser.md

Crops are at least 48 pixels wide, the encoder's image size; LASER's default of 224 is for encoders
of that size.

LASER and its ablations are compared with two windows of the same size that ignore attention: one
drawn at random, and one centred on the object, which bounds what a better choice could gain.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from PIL import Image

from benchmarks.icon_scenes import SCENES, Scene, draw_scenes
from craft.data import prompts
from craft.data.questions import seeded
from craft.decoding import Box, DiscreteReader, Grounded, LaserSettings, laser, plain
from craft.decoding.crop import place_crop
from craft.decoding.masking import cells_within
from craft.evaluation.exact_match import strict_match
from craft.family.family import ModelFamily
from craft.runtime.versions import environment

RESULTS = Path(__file__).parent / "results" / "laser_scenes.json"
SEEDS = (0, 1, 2)
BASE = LaserSettings(min_side=48)
VARIANTS: dict[str, LaserSettings | None] = {
    "plain": None,
    "LASER": BASE,
    "no VAT": BASE.model_copy(update={"alpha": 0.0}),
    **{
        f"fixed layer {layer}": BASE.model_copy(update={"fixed_layer": layer}) for layer in range(3)
    },
    "tokens dropped": BASE.model_copy(update={"mask_mode": "token_drop"}),
}
WINDOWS = ("random window", "window on the object")
TIMED = ("plain", "no VAT", "LASER")
#: Number of scenes that are measured together, in one batch.
PART = 20


class SharedLooks(DiscreteReader):
    """Shares the first look among variants, which differ only after it."""

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


def measure(reader: DiscreteReader, scenes: Sequence[Scene], variant: str) -> dict:
    """Number of correct answers and, for maps and windows, sums of how well they point."""
    windows = [_window(scene, variant) for scene in scenes] if variant in WINDOWS else None
    given = _ask(reader, scenes, VARIANTS.get(variant), windows)
    right = [strict_match(g.text, s.answer) for g, s in zip(given, scenes, strict=True)]
    result: dict = {"right": sum(right), "n": len(right)}
    if windows is not None:
        seen = sum(_overlap(s.box, w) for s, w in zip(scenes, windows, strict=True))
        return result | {"found": len(right), "object in crop": seen}
    traced = [(s, g.trace) for s, g in zip(scenes, given, strict=True) if g.trace is not None]
    if not traced:
        return result
    found = [(s, trace) for s, trace in traced if not trace.fallback]
    return result | {
        "found": len(found),
        "layers": [sum(t.evidence.layer == layer for _, t in found) for layer in range(3)],
        "map on object": sum(_mass(t.evidence.map, s) for s, t in found),
        "object in crop": sum(_overlap(s.box, t.box or t.view) for s, t in found),
    }


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


def _window(scene: Scene, variant: str) -> Box:
    """A window of half the scene's side: around the object, or anywhere LASER could crop."""
    cells = torch.zeros(6, 6)
    whole = Box(0, 0, *scene.image.size)
    if variant == "window on the object":
        cells[cells_within(torch.ones(1, 1).bool(), scene.box, whole, (6, 6))] = 1
    else:
        spot = seeded("window", scene.question, *scene.box).randrange(36)
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
    """Share of the map's mass on the object, whose cells tile the map exactly."""
    whole = Box(0, 0, *scene.image.size)
    rows, columns = evidence.shape
    object_cells = cells_within(torch.ones(1, 1).bool(), scene.box, whole, (rows, columns))
    return float(evidence[object_cells].sum() / evidence.sum())


def time_variants(reader: DiscreteReader, scenes: Sequence[Scene]) -> dict[str, float]:
    """Median milliseconds of processor time per question, one at a time, variants in turn.

    With one thread this is the time that a question takes, whatever else the machine does.
    """
    taken: dict[str, list[float]] = {variant: [] for variant in TIMED}
    for number, scene in enumerate(scenes):
        for variant in TIMED:
            started = time.process_time()
            _ask(reader, [scene], VARIANTS[variant])
            if number:  # the first scene is a warm-up
                taken[variant].append(1e3 * (time.process_time() - started))
    return {variant: median(values) for variant, values in taken.items()}


def run(path: Path, parts: int, timed: int) -> None:
    """Measure what is missing in ``path``, which is written after every variant.

    Parts are measured one by one, so that all variants have the same scenes at any moment.
    """
    found = json.loads(path.read_text()) if path.exists() else {"answers": {}, "milliseconds": {}}
    found["versions"] = environment()
    family = ModelFamily.load()
    models = {
        name: (family.lvlm(name), family.language_model(name).tokenizer) for name in family.names
    }

    def keep(kept: str, key: str, make: Callable[[], dict]) -> None:
        if key not in found[kept]:
            found[kept][key] = make()
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(kept, key, flush=True)

    for part, seed, kind in product(range(parts), SEEDS, SCENES):
        scenes = draw_scenes(kind, seed, range(part * PART, (part + 1) * PART))
        for name, model in models.items():
            shared = SharedLooks(*model)
            for variant in (*VARIANTS, *WINDOWS):
                key = f"{name}/{kind}/{variant}/{seed}/{part}"
                keep("answers", key, partial(measure, shared, scenes, variant))
            if part == 0:
                alone = partial(time_variants, DiscreteReader(*model), scenes[:timed])
                keep("milliseconds", f"{name}/{kind}/{seed}", alone)


class Found:
    """Results by model, scene, variant and seed, over the parts that are complete for all."""

    def __init__(self, path: Path):
        results = json.loads(path.read_text())
        self.answers: dict[str, dict] = results["answers"]
        self.times: dict[str, dict[str, float]] = results["milliseconds"]
        self.names = list(dict.fromkeys(key.split("/")[0] for key in self.answers))
        runs = list(product(self.names, SCENES, (*VARIANTS, *WINDOWS), SEEDS))
        self.parts = 0
        while all(f"{'/'.join(map(str, run))}/{self.parts}" in self.answers for run in runs):
            self.parts += 1
        if not self.parts:
            raise SystemExit(f"{path} is not complete for any part yet; run without --table")

    def of(self, name: str, kind: str, variant: str, seed: int) -> list[dict]:
        return [self.answers[f"{name}/{kind}/{variant}/{seed}/{p}"] for p in range(self.parts)]

    def accuracies(self, *run: str) -> list[float]:
        """Accuracy in per cent for each seed."""
        parts = [self.of(*run, seed=seed) for seed in SEEDS]
        return [100 * sum(p["right"] for p in ps) / sum(p["n"] for p in ps) for ps in parts]

    def share(self, key: str, *run: str) -> str:
        """Mean of a share over all questions with evidence, in per cent."""
        parts = [part for seed in SEEDS for part in self.of(*run, seed=seed)]
        count = sum(part["found"] for part in parts)
        return f"{100 * sum(part[key] for part in parts) / count:.0f}" if count else ""

    def fallbacks(self, *run: str) -> str:
        """Share of questions without evidence, in per cent."""
        parts = [part for seed in SEEDS for part in self.of(*run, seed=seed)]
        found, count = (sum(part[key] for part in parts) for key in ("found", "n"))
        return f"{100 * (count - found) / count:.0f}"


def tables(path: Path) -> str:
    """Markdown tables of accuracies, as mean and standard deviation over seeds, and of crops."""
    found = Found(path)
    columns = list(product(found.names, SCENES))
    head = f"| | {' | '.join(f'{name}, {kind}' for name, kind in columns)} |"
    rule = "|---" * (len(columns) + 1) + "|"

    def row(title: str, cell: Callable[[str, str], str]) -> str:
        return f"| {title} | {' | '.join(cell(*column) for column in columns)} |"

    def accuracy(variant: str, name: str, kind: str) -> str:
        scores = found.accuracies(name, kind, variant)
        return f"{mean(scores):.1f} ±{stdev(scores):.1f}"

    def share(variant: str, key: str, name: str, kind: str) -> str:
        return found.share(key, name, kind, variant)

    def duration(variant: str, name: str, kind: str) -> str:
        return f"{median(found.times[f'{name}/{kind}/{s}'][variant] for s in SEEDS):.1f}"

    looks = ("LASER", *(v for v in VARIANTS if v.startswith("fixed")))
    lines = [f"{found.parts * PART} questions per seed", "", head, rule]
    lines += [row(v, partial(accuracy, v)) for v in (*VARIANTS, *WINDOWS)]
    lines += ["", head, rule]
    lines += [row(f"map on the object, {v}", partial(share, v, "map on object")) for v in looks]
    lines += [
        row(f"object in the crop, {v}", partial(share, v, "object in crop"))
        for v in (*looks, "random window")
    ]
    lines += [
        row(f"no evidence, {v}", lambda name, kind, v=v: found.fallbacks(name, kind, v))
        for v in looks
    ]
    lines += ["", head, rule]
    lines += [row(f"{v}, ms per question", partial(duration, v)) for v in TIMED]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--parts", type=int, default=8, help=f"number of parts of {PART} scenes per kind and seed"
    )
    parser.add_argument("--timed", type=int, default=6, help="scenes timed one by one")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    arguments = parser.parse_args()
    if not arguments.table:
        run(arguments.out, arguments.parts, arguments.timed)
    print(tables(arguments.out))
