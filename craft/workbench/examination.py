"""``craft.evaluate`` and ``craft.transfer``, which the commands of these names call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from craft.data.domains.domain import Domain
from craft.data.images.pace import EncodingPace
from craft.errors import CraftError
from craft.evaluation.results import EvaluationResults, TransferResults
from craft.evaluation.retention import RetentionProbe
from craft.family.family import ModelFamily
from craft.models.compilation import require_compilation
from craft.prior import TokenPrior
from craft.runtime.processes import joined
from craft.runtime.rank import is_main_process
from craft.settings.exams import ExamSettings, TransferSettings, exam_settings
from craft.workbench.evaluate import evaluate_pack
from craft.workbench.listener import Listener
from craft.workbench.opening import (
    Family,
    General,
    answering_models,
    open_pack,
    opened,
    retention_probe,
)
from craft.workbench.requirements import (
    require_language_model,
)
from craft.workbench.run_directory import require_run_directory, run_directory
from craft.workbench.transfer import transfer_matrix


def evaluate(
    pack: Path | str,
    out: Path | str,
    *,
    family: Family = None,
    domain: Domain | None = None,
    data: Path | None = None,
    known: Callable[[str], Domain] | None = None,
    language_models: Sequence[str] | None = None,
    settings: ExamSettings | Mapping[str, Any] | None = None,
    prior: TokenPrior | Path | str | None = None,
    general: General = None,
    compiled: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> EvaluationResults:
    """Examine a pack through language models that share its codebook.

    Writes ``results.json`` and ``predictions.jsonl`` to ``out``. Under torchrun every process makes
    the same call; they share the work, and the first writes.

    Args:
        domain: domain to examine it on; by default the data that it was adapted to.
        data: where that data is now, if it was moved.
        known: opens a domain by name, for packs that were not adapted to a user's data.
        language_models: names; by default all those of the family that know the domain's words.
        settings: complete :class:`~craft.settings.exams.ExamSettings`, or single values by name.
        prior: to prune by instead of the pack's.
        compiled: whether encoders run through torch.compile; codes in near-ties may differ.
        family, general, force, listener: as for :func:`adapt`.

    Raises:
        CodebookMismatchError: the pack speaks another codebook than the models; names both.
        CraftError: an invalid setting, name or directory, or no way to tell the domain; see also
            :func:`~craft.workbench.evaluate.evaluate_pack`.

    Example:
        >>> found = craft.evaluate("my-pack", "scores")  # doctest: +SKIP
    """
    out, listener = Path(out), listener or Listener()
    asked = exam_settings(ExamSettings, settings)
    if prior is not None and not asked.prunes:
        raise CraftError(
            "a prior has no effect while all tokens are kept; add a keep ratio below 1, or leave "
            "it out"
        )
    require_run_directory(out, "evaluate", force=force, locked=is_main_process())
    models = opened(family)
    processes, pace = joined(models.device), EncodingPace()
    if compiled:
        require_compilation(models.device)
    for name in language_models or ():
        require_language_model(models, name)
    if isinstance(prior, (Path, str)):
        prior = TokenPrior.load(prior)
    with listener.reading():
        found = open_pack(pack, models, domain=domain, data=data, known=known)
    if found.encoder.own is not None and language_models is not None:
        raise CraftError(
            f"{pack} is read by the language model that was trained with it; leave --llm out"
        )
    if found.account is not None:
        listener.data(found.account)
    names = answering_models(language_models, found.encoder, models, found.domain, listener)
    probe = _probe(general, models, names, asked.general_images, listener)
    command = {"command": "evaluate", "pack": str(pack), "domain": found.domain.name}
    with run_directory(out, command, force=force):
        results = evaluate_pack(
            found.encoder,
            models,
            found.domain,
            out,
            names=names,
            probe=probe,
            settings=asked,
            prior=prior,
            compiled=compiled,
            processes=processes,
            pace=pace,
            on_progress=listener.progress,
        )
    listener.encoded(replace(pace, hands=processes.count))
    return results


def transfer(
    packs: Sequence[Path | str],
    out: Path | str,
    *,
    family: Family = None,
    domain: Domain | None = None,
    data: Path | None = None,
    known: Callable[[str], Domain] | None = None,
    language_models: Sequence[str] | None = None,
    settings: TransferSettings | Mapping[str, Any] | None = None,
    general: General = None,
    compiled: bool = False,
    force: bool = False,
    listener: Listener | None = None,
) -> TransferResults:
    """Examine every pack with every language model: points gained over the pretrained encoder.

    Under torchrun every process makes the same call; they share the work, and the first writes.

    Args:
        domain: domain to examine all packs on; by default that of the first pack.
        settings: complete :class:`~craft.settings.exams.TransferSettings`, or single values by
            name.
        family, data, known, language_models, general, force, listener: as for :func:`evaluate`.

    Raises:
        CodebookMismatchError: a pack speaks another codebook than the models; names both.
        CraftError: no pack, or one named twice; see also
            :func:`~craft.workbench.transfer.transfer_matrix`.
    """
    out, listener = Path(out), listener or Listener()
    asked = exam_settings(TransferSettings, settings)
    rows = [str(pack) for pack in packs]
    if not rows:
        raise CraftError("no pack to examine; name at least one")
    if len(set(rows)) < len(rows):
        raise CraftError(f"a pack is named twice: {', '.join(rows)}")
    require_run_directory(out, "transfer", force=force, locked=is_main_process())
    models = opened(family)
    processes, pace = joined(models.device), EncodingPace()
    if compiled:
        require_compilation(models.device)
    for name in language_models or ():
        require_language_model(models, name)
    with listener.reading():
        found = open_pack(rows[0], models, domain=domain, data=data, known=known)
    encoders = {rows[0]: found.encoder} | {pack: models.plug(pack) for pack in rows[1:]}
    names = answering_models(language_models, found.encoder, models, found.domain, listener)
    probe = _probe(general, models, names, asked.general_images, listener)
    command = {"command": "transfer", "packs": rows, "domain": found.domain.name}
    with run_directory(out, command, force=force):
        results = transfer_matrix(
            encoders,
            models,
            found.domain,
            out,
            names=names,
            probe=probe,
            settings=asked,
            compiled=compiled,
            processes=processes,
            pace=pace,
            on_progress=listener.progress,
        )
    listener.encoded(replace(pace, hands=processes.count))
    return results


def _probe(
    general: General, family: ModelFamily, names: Sequence[str], count: int, listener: Listener
) -> RetentionProbe | None:
    """The retention probe; raises CraftError if ``count`` questions are too few for it."""
    probe = retention_probe(general, family, names, listener)
    if probe is not None and count < probe.least:
        raise CraftError(
            f"general_images={count} is too few: measuring forgetting needs at least {probe.least}"
        )
    return probe
