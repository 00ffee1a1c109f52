"""Examining an encoder through language models that share its codebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from craft.data.domains.domain import Domain
from craft.evaluation.exam import Candidate, Exam
from craft.evaluation.four_option import by_class
from craft.evaluation.results import PREDICTIONS, RESULTS
from craft.evaluation.retention import RetentionProbe
from craft.family.family import ModelFamily
from craft.family.plugged import PluggedEncoder
from craft.prior import TokenPrior
from craft.pruning import keep_count
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.tensor_hash import tensor_hash
from craft.runtime.versions import environment
from craft.runtime.whole_file import open_whole, write_json
from craft.settings.choices import Selector


def evaluate_pack(
    encoder: PluggedEncoder,
    family: ModelFamily,
    domain: Domain,
    out: Path,
    *,
    names: Sequence[str],
    probe: RetentionProbe | None = None,
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
    """Examine an encoder; writes ``results.json`` and ``predictions.jsonl``.

    Args:
        encoder: from :meth:`~craft.family.family.ModelFamily.plug`.
        names: language models to read it; a language model of its own reads it instead of them.
        probe: measures forgetting on ``general_images`` questions; without, ``general`` is None.
        likelihood, justify: also examine with :mod:`~craft.evaluation.likelihood` and
            :mod:`~craft.evaluation.instruction_following`.
        prior: instead of the encoder's own.
        seed: of the random selectors.

    Returns:
        What results.json holds: ``models.<language model>.keep_<ratio>`` with ``all``, ``seen``,
        ``heldout``, ``general`` in per cent, ``n``, ``intervals`` and ``lenient``, ``classes``,
        and, where asked for, ``likelihood`` and ``justified``.

    Raises:
        CraftError: no such language model, a keep ratio outside (0, 1], no prior to prune by.
    """
    tower, own = encoder.tower, encoder.own_language_model
    language_models = [family.language_model(name) for name in names] if own is None else [own]
    rows, columns = tower.grid
    for ratio in keep_ratios:
        keep_count(rows * columns, ratio)
    general = None
    if probe is not None:
        general = probe.questions(general_images, tower.image_size, "report")
    exam = Exam.of(domain, tower.image_size, general, test_limit)
    quantized = encoder.reads == "codes"
    candidate = Candidate(exam, tower, prior or encoder.prior, seed, quantized)
    if min(keep_ratios) < 1:
        candidate.domain.order(selector)  # a missing prior fails before anything long starts
    scores: dict[str, dict[str, Any]] = {}
    out.mkdir(parents=True, exist_ok=True)
    with open_whole(out / PREDICTIONS) as predictions:
        for language_model in language_models:
            scores[language_model.name] = {}
            for ratio in keep_ratios:
                condition = f"keep_{ratio}"
                marks = candidate.answer(
                    language_model,
                    ratio,
                    selector,
                    task=f"{domain.name}: {language_model.name}, {condition}",
                    on_progress=on_progress,
                )
                run = {"model": language_model.name, "condition": condition}
                marks.write(predictions, run)
                found = marks.scores | {"classes": by_class(marks.domain)}
                if likelihood:
                    found["likelihood"] = candidate.likelihood(language_model, ratio, selector)
                if justify:
                    justified = candidate.justify(language_model, ratio, selector)
                    justified.write(predictions, run)
                    found["justified"] = justified.scores
                scores[language_model.name][condition] = found
    results = {
        "domain": domain.name,
        "models": scores,
        "settings": {
            "method": "zero_shot" if encoder.pack is None else encoder.pack.method,
            "selector": selector,
            "keep_ratios": list(keep_ratios),
            "seed": seed,
            "test_limit": test_limit,
            "general_images": 0 if general is None else len(general.questions),
        },
        "encoder_hash": tensor_hash(tower.state_dict()),
        "codebook_fingerprint": family.codebook.fingerprint,
        "versions": environment(),
    }
    write_json(out / RESULTS, results)
    return results
