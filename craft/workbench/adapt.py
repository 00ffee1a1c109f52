"""Making an encoder pack from the pocket models, and examining one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor

from craft.data.domains.domain import Domain
from craft.data.questions import Question
from craft.evaluation.exam import Candidate, Exam
from craft.evaluation.four_option import by_class
from craft.family.family import ModelFamily
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.domain_prior import count_prior
from craft.models.encoder_pack import EncoderPack
from craft.models.vision_tower import DiscreteVisionTower
from craft.pocket.domains import general_probe
from craft.prior import TokenPrior
from craft.pruning import Selector, keep_count
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.versions import environment
from craft.settings.methods import METHODS
from craft.settings.training import CraftConfig
from craft.training.adapt import AdaptationResult, adapt
from craft.training.trainee import TrainableTable

RESULTS, PREDICTIONS = "results.json", "predictions.jsonl"
#: In a pack: the projector and language model of a method that trained one of them.
LANGUAGE_MODEL = "language_model"

Views = tuple[Tensor, list[Question]]


def measuring_views(count: int, tower: DiscreteVisionTower) -> Views:
    """Views of the general world that measure forgetting, at the encoder's size."""
    return general_probe(count, tower.image_size, seed=0)


def choosing_views(count: int, tower: DiscreteVisionTower) -> Views:
    """Other views of the general world, for choosing a checkpoint."""
    return general_probe(count, tower.image_size, seed=1)


def adapt_pack(
    models: ModelFamily,
    surrogate: str,
    domain: Domain,
    config: CraftConfig,
    directory: Path,
    views: Views,
    *,
    task: str = "adapting",
    resume: bool = False,
    on_start: Callable[[TrainableTable], None] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> tuple[AdaptationResult, EncoderPack]:
    """Adapt a copy of the base encoder, count the domain's prior with it, save both as a pack.

    Of an encoder that trains adapters, the pack holds those alone, and the base encoder's hash. A
    method that trains the projector or the language model leaves the encoder as it is, and its
    result in the pack's ``language_model``.

    Args:
        directory: becomes the pack, with the settings and the log of its training.
        views: from :func:`choosing_views`.
        resume, on_start: as for :func:`~craft.training.adapt.adapt`.

    Raises:
        CraftError: no such language model.
    """
    reader = models.language_model(surrogate)
    own = METHODS[config.method].trains in ("projector", "language_model")
    if own:
        reader = copy.deepcopy(reader)
    adapted = adapt(
        models.pretrained_tower(),
        reader,
        models.siglip,
        domain,
        config,
        directory,
        general=views,
        text_tokenizer=models.text_tokenizer(config),
        resume=resume,
        on_start=on_start,
        on_step=lambda step, steps, _: on_progress(task, step, steps),
    )
    tower: Any = adapted.tower
    home = tower.device
    prior = count_prior(tower.to(PartialState().device), domain.train.images)
    pack = EncoderPack.of(
        tower.to(home),
        prior,
        base=None if adapted.tower.config.heba is None else models.pretrained_tower(),
        domain=domain.name,
        surrogate=surrogate,
        heldout_classes=domain.heldout,
        blend=adapted.blend,
        code_flip_rate=adapted.code_flip_rate,
        config=config.model_dump(),
    )
    if PartialState().is_main_process:
        pack.save(directory)
        if own:
            reader.save_pretrained(directory / LANGUAGE_MODEL)
    return adapted, pack


def evaluate_pack(
    pack: EncoderPack,
    models: ModelFamily,
    domain: Domain,
    out: Path,
    *,
    names: Sequence[str],
    reader: AlignedLanguageModel | None = None,
    keep_ratios: Sequence[float],
    selector: Selector = "full",
    likelihood: bool = False,
    justify: bool = False,
    prior: TokenPrior | None = None,
    seed: int = 0,
    test_limit: int | None = None,
    general_images: int = 900,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, Any]:
    """Examine a pack; writes ``results.json`` and ``predictions.jsonl``.

    Args:
        names: language models to read the codes.
        reader: the one that was trained with the pack, and reads it instead of all others.
        likelihood, justify: also examine with :mod:`~craft.evaluation.likelihood` and
            :mod:`~craft.evaluation.instruction_following`.
        prior: instead of the pack's own.
        seed: of the random selectors.

    Returns:
        What results.json holds: ``models.<language model>.keep_<ratio>`` with ``all``, ``seen``,
        ``heldout``, ``general`` in per cent, ``n``, ``intervals`` and ``lenient``, ``classes``,
        and, where asked for, ``likelihood`` and ``justified``.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        CraftError: no such language model, a keep ratio outside (0, 1], no prior to prune by.
    """
    tower = pack.tower(models.codebook)
    lvlms = [models.language_model(name) for name in names] if reader is None else [reader]
    rows, columns = tower.grid
    for ratio in keep_ratios:
        keep_count(rows * columns, ratio)
    exam = Exam.of(domain, measuring_views(general_images, tower), test_limit)
    method = pack.notes.get("config", {}).get("method", "craft")
    quantized = METHODS[method].quantized
    candidate = Candidate(exam, tower, prior or pack.prior, seed, quantized)
    if min(keep_ratios) < 1:
        candidate.domain.order(selector)  # a missing prior fails before anything long starts
    scores: dict[str, dict[str, Any]] = {}
    out.mkdir(parents=True, exist_ok=True)
    with (out / PREDICTIONS).open("w") as predictions:
        for lvlm in lvlms:
            scores[lvlm.name] = {}
            for ratio in keep_ratios:
                condition = f"keep_{ratio}"
                marks = candidate.answer(
                    lvlm,
                    ratio,
                    selector,
                    task=f"{domain.name}: {lvlm.name}, {condition}",
                    on_progress=on_progress,
                )
                run = {"model": lvlm.name, "condition": condition}
                marks.write(predictions, run)
                scores[lvlm.name][condition] = marks.scores | {"classes": by_class(marks.domain)}
                if likelihood:
                    likeliest = candidate.likelihood(lvlm, ratio, selector)
                    scores[lvlm.name][condition]["likelihood"] = likeliest
                if justify:
                    justified = candidate.justify(lvlm, ratio, selector)
                    justified.write(predictions, run)
                    scores[lvlm.name][condition]["justified"] = justified.scores
    results = {
        "domain": domain.name,
        "models": scores,
        "settings": {
            "method": method,
            "selector": selector,
            "keep_ratios": list(keep_ratios),
            "seed": seed,
            "test_limit": test_limit,
            "general_images": general_images,
        },
        "encoder_hash": pack.encoder_hash,
        "codebook_fingerprint": pack.codebook_fingerprint,
        "versions": environment(),
    }
    (out / RESULTS).write_text(json.dumps(results, indent=2) + "\n")
    return results
