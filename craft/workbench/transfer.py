"""Every encoder with every language model (paper, Tables 3 and 7): what adaptation carries over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from craft.data.domains.domain import Domain
from craft.errors import CraftError
from craft.evaluation.exam import Candidate, Exam, Marks
from craft.evaluation.results import PREDICTIONS, TransferResults
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.versions import environment
from craft.workbench.adapt import measuring_views

#: The row of the encoder that nobody adapted.
PRETRAINED = "pretrained"


def transfer_matrix(
    packs: Mapping[str, EncoderPack],
    models: ModelFamily,
    domain: Domain,
    out: Path,
    *,
    names: Sequence[str],
    keep_ratio: float = 1.0,
    test_limit: int | None = None,
    general_images: int = 900,
    on_progress: OnProgress = ignore_progress,
) -> TransferResults:
    """Examine each pack and the pretrained encoder; writes results.json and predictions.jsonl.

    Args:
        packs: by the name of their row.
        names: language models, one a column.

    Returns:
        What results.json holds: a row an encoder, the pretrained one first; those of packs with
        their surrogate and their gain over the first.

    Raises:
        CodebookMismatchError: a pack speaks another codebook than the models; names both.
        CraftError: no such language model, or a pack called "pretrained".
    """
    if PRETRAINED in packs:
        raise CraftError(f"no pack may be called {PRETRAINED!r}: that is the row to compare with")
    towers = {name: pack.tower(models.codebook) for name, pack in packs.items()}
    lvlms = [models.language_model(name) for name in names]
    base = models.pretrained_tower()
    exam = Exam.of(domain, measuring_views(general_images, base), test_limit)
    out.mkdir(parents=True, exist_ok=True)
    matrix: dict[str, dict[str, Any]] = {}
    before: dict[str, Marks] = {}
    with (out / PREDICTIONS).open("w") as predictions:
        for encoder, tower in {PRETRAINED: base, **towers}.items():
            pack = packs.get(encoder)
            prior = None
            if keep_ratio < 1:
                prior = models.general_prior() if pack is None else pack.prior
            candidate = Candidate(exam, tower, prior)
            matrix[encoder] = {}
            for lvlm in lvlms:
                marks = candidate.answer(
                    lvlm,
                    keep_ratio,
                    task=f"{encoder} with {lvlm.name}",
                    on_progress=on_progress,
                )
                marks.write(predictions, {"encoder": encoder, "model": lvlm.name})
                before.setdefault(lvlm.name, marks)
                cell = dict(marks.scores)
                if pack is not None:
                    cell["gain"] = marks.gain_over(before[lvlm.name])
                    cell["surrogate"] = pack.notes.get("surrogate")
                matrix[encoder][lvlm.name] = cell
    results = TransferResults.of(
        domain=domain.name,
        matrix=matrix,
        settings={
            "keep_ratio": keep_ratio,
            "test_limit": test_limit,
            "general_images": general_images,
        },
        encoder_hashes={name: pack.encoder_hash for name, pack in packs.items()},
        codebook_fingerprint=models.codebook.fingerprint,
        versions=environment(),
    )
    results.save(out)
    return results
