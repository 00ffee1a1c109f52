"""Build the pocket models: ``python -m craft.pocket.build.models --out DIR``.

Stages run in order and store their results in the directory, and an interrupted build resumes with
the first unfinished stage. ``--only FAMILY`` aligns a single language model, so that several
processes can each align one.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from craft.codebook import Codebook
from craft.data.images.image_set import ImageSet
from craft.data.prompts import caption
from craft.family import manifest as family_manifest
from craft.family.family import ModelFamily
from craft.family.layout import CODEBOOK, PRIOR, SIGLIP
from craft.models.siglip_texts import text_embeddings
from craft.models.vision_tower import DiscreteVisionTower
from craft.pocket.build.language import LanguageStage
from craft.pocket.build.language_recipe import VIEWS, LanguageRecipe
from craft.pocket.build.vision import VisionRecipe, VisionStage
from craft.pocket.build.vocabulary import build_tokenizer
from craft.pocket.family import FAMILIES, RETENTION
from craft.pocket.retention import general_probe
from craft.pocket.world import general_world
from craft.prior import TokenPrior
from craft.runtime.memory import keep_freed_memory
from craft.runtime.tensor_hash import tensor_hash
from craft.training.validation import letter_scores

log = logging.getLogger(__name__)

PROBE_IMAGES = 1500


def build_vision(out: Path, cache: Path, areas: list[ImageSet], recipe: VisionRecipe) -> None:
    """Stage 1: tokenizer, SigLIP pair and codebook."""
    if (out / CODEBOOK).is_file():
        log.info("vision: %s exists, skipped", out / CODEBOOK)
        return
    tokenizer = build_tokenizer([name for area in areas for name in area.labels + area.groups])
    stage = VisionStage(areas, tokenizer, recipe)
    for number in range(len(recipe.phases)):
        path = cache / f"vision-{number}.safetensors"
        if path.is_file():
            stage.load(load_file(path))
            log.info("vision: phase %d taken from %s", number + 1, path)
            continue
        stage.run(number)
        save_file(stage.state(), path)
    stage.model.save_pretrained(out / SIGLIP)
    tokenizer.save_pretrained(out / SIGLIP)
    Codebook(stage.book.table.detach(), recipe.levels).save(out / CODEBOOK)


def encode_views(
    tower: DiscreteVisionTower, areas: list[ImageSet], views: int, seed: int
) -> list[Tensor]:
    """Codes of augmented views, one tensor [n, views, N, L] int16 per area."""
    generator = torch.Generator().manual_seed(seed)
    encoded = []
    for area in areas:
        augment = VIEWS[area.area]
        parts = []
        for rows in torch.arange(len(area)).repeat_interleave(views).split(96):
            images = augment(
                area.images.pixels(rows.tolist()).float() / 255, tower.image_size, generator
            )
            parts.append(tower.encode(images, 96).codes.to(torch.int16))
        encoded.append(torch.cat(parts).unflatten(0, (len(area), views)))
        log.info("codes of %s: %s", area.area, tuple(encoded[-1].shape))
    return encoded


def build_codes(
    out: Path, cache: Path, areas: list[ImageSet], views: int, seed: int
) -> list[Tensor]:
    """Stage 2: codes of what the language models read, and the general world's prior."""
    path = cache / "codes.safetensors"
    if path.is_file():
        stored = load_file(path)
        return [stored[area.area] for area in areas]
    tower = ModelFamily(out).pretrained_tower()
    codes = encode_views(tower, areas, views, seed)
    prior = TokenPrior.count(
        [c.long() for area in codes for c in area.flatten(0, 1).split(4096)],
        tower.codebook,
        encoder_hash=tensor_hash(tower.state_dict()),
    )
    prior.save(out / PRIOR)
    save_file({area.area: c for area, c in zip(areas, codes, strict=True)}, path)
    return codes


def build_language(
    out: Path,
    cache: Path,
    family: str,
    areas: list[ImageSet],
    codes: list[Tensor],
    recipe: LanguageRecipe,
) -> None:
    """Stage 3: one language model."""
    if (out / family / "craft.json").is_file():
        log.info("%s: exists, skipped", family)
        return
    models = ModelFamily(out)
    names = {label: area.subject for area in areas for label in area.labels}
    captions = [caption(subject, name) for name, subject in names.items()]
    meanings = dict(
        zip(names, text_embeddings(models.siglip, models.tokenizer, captions), strict=True)
    )
    stage = LanguageStage(
        family,
        areas,
        codes,
        models.codebook.table,
        models.tokenizer,
        meanings,
        models.codebook.fingerprint,
        recipe,
    )
    stage.run(cache).save_pretrained(out / family)


def write_manifest(out: Path, vision: VisionRecipe, language: LanguageRecipe) -> None:
    """Stage 4: the manifest, with accuracies on unseen views, recipes and hashes of all files."""
    models = ModelFamily(out)
    tower = models.pretrained_tower()
    asked = general_probe(PROBE_IMAGES, tower.image_size)
    figures = {}
    for name in models.names:
        scores = letter_scores(tower, models.language_model(name), asked)
        figures[name] = round(scores.accuracy, 2)
        log.info("%s: general-world four-option accuracy %.2f %%", name, figures[name])
    manifest = {
        "language_models": list(FAMILIES),
        "retention": RETENTION,
        "general_four_option_accuracy": figures,
        "questions": len(asked.questions),
        "codebook_fingerprint": models.codebook.fingerprint,
        "recipes": {"vision": asdict(vision), "language": asdict(language)},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    family_manifest.write_manifest(out, manifest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the models")
    parser.add_argument("--cache", type=Path, help="directory for codes (default: OUT-cache)")
    parser.add_argument("--only", choices=FAMILIES, help="align this language model, then stop")
    parser.add_argument("--views", type=int, default=12, help="augmented views per image")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    vision, language = VisionRecipe(), LanguageRecipe()
    areas = general_world()
    cache = args.cache or args.out.with_name(args.out.name + "-cache")
    for directory in (args.out, cache):
        directory.mkdir(parents=True, exist_ok=True)
    build_vision(args.out, cache, areas, vision)
    codes = build_codes(args.out, cache, areas, args.views, vision.seed + 1)
    for family in [args.only] if args.only else FAMILIES:
        build_language(args.out, cache, family, areas, codes, language)
    if args.only is None:
        write_manifest(args.out, vision, language)


if __name__ == "__main__":
    main()
