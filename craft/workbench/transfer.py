"""The transfer matrix: every encoder with every language model (paper, Tables 3 and 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from craft.data.domains.domain import Domain
from craft.data.images.pace import EncodingPace
from craft.errors import CraftError
from craft.evaluation.exam import Candidate, Exam, Marks
from craft.evaluation.journal import Journal
from craft.evaluation.results import TransferResults, written_together
from craft.evaluation.retention import RetentionProbe
from craft.family.family import ModelFamily
from craft.family.plugged import PluggedEncoder
from craft.runtime.processes import ALONE, Processes
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.versions import environment
from craft.settings.exams import TransferSettings
from craft.workbench.evaluate import COMPILED, PRETRAINED
from craft.workbench.exam_identity import encoder_identity, exam_identity
from craft.workbench.general_prior import prior_made_by


def transfer_matrix(
    encoders: Mapping[str, PluggedEncoder],
    family: ModelFamily,
    domain: Domain,
    out: Path,
    *,
    names: Sequence[str],
    probe: RetentionProbe | None = None,
    settings: TransferSettings | None = None,
    compiled: bool = False,
    processes: Processes = ALONE,
    pace: EncodingPace | None = None,
    on_progress: OnProgress = ignore_progress,
) -> TransferResults:
    """Examine each pack and the pretrained encoder; writes results.json and predictions.jsonl.

    An interrupted call resumes where it stopped when it is made again.

    Args:
        encoders: row name -> encoder.
        names: language models, one per column.
        probe: measures forgetting; without it, ``general`` is None.
        compiled, processes, pace: as for :func:`~craft.workbench.evaluate.evaluate_pack`.

    Returns:
        The content of results.json: a row per encoder, the pretrained one first. The rows of packs
        have their surrogate and their gain over the first row.

    Raises:
        CraftError: no such language model, a pack called "pretrained", a pack that only its own
            language model reads, no prior to prune by, or another process is writing to ``out``.
        DataError: an image is missing or corrupt.
    """
    settings = settings or TransferSettings()
    keep_ratio = settings.keep_ratio
    if PRETRAINED in encoders:
        raise CraftError(f"no pack may be called {PRETRAINED!r}: that is the row to compare with")
    rows = {PRETRAINED: family.plug(), **encoders}
    for name, encoder in rows.items():
        if encoder.own is not None:
            raise CraftError(
                f"{name} trained its own language model and no encoder, so there is nothing to "
                "plug into others; examine it with `craft evaluate`"
            )
        if keep_ratio < 1 and encoder.prior is None:
            raise CraftError(
                f"{name} has no token prior to prune by; "
                f"{prior_made_by(family, None if encoder.pack is None else name)}, or use "
                "--keep-ratio 1"
            )
    language_models = [family.language_model(name) for name in names]
    size, general = family.image_size, None
    if probe is not None:
        general = probe.questions(settings.general_images, size, "report")
    exam = Exam.of(domain, general, settings.test_limit)
    matrix: dict[str, dict[str, Any]] = {}
    before: dict[str, Marks] = {}

    def what_answers_depend_on() -> dict[str, Any]:
        found = exam_identity(exam, [family.directory / name for name in names])
        found |= {"keep_ratio": keep_ratio, "compiled": compiled}
        found["rows"] = {
            name: encoder_identity(
                encoder.tower, encoder.prior if keep_ratio < 1 else None, encoder.reads
            )
            for name, encoder in rows.items()
        }
        return found

    identity = processes.from_main(what_answers_depend_on)
    encoding = EncodingPace()
    with (
        Journal(out, identity, processes) as journal,
        written_together(out, processes) as (written, predictions),
    ):
        for number, (name, encoder) in enumerate(rows.items()):
            quantized = encoder.reads == "codes"
            if compiled:
                encoder.tower.compile_features()
            candidate = Candidate(
                exam,
                encoder.tower,
                encoder.prior if keep_ratio < 1 else None,
                quantized=quantized,
                task=f"{name}: encoding",
                on_progress=on_progress,
                journal=journal,
                name=f"encoder-{number}",
                processes=processes,
                pace=encoding,
            )
            matrix[name] = {}
            for language_model in language_models:
                run = {"encoder": name, "model": language_model.name}
                marks = candidate.answer(
                    language_model,
                    keep_ratio,
                    run=run,
                    task=f"{name} with {language_model.name}",
                    on_progress=on_progress,
                )
                marks.write(predictions, run)
                before.setdefault(language_model.name, marks)
                cell = dict(marks.scores)
                if encoder.pack is not None:
                    cell["gain"] = marks.gain_over(before[language_model.name])
                    cell["surrogate"] = encoder.pack.notes.get("surrogate")
                matrix[name][language_model.name] = cell
        results = TransferResults.of(
            domain=domain.name,
            matrix=matrix,
            settings=settings.model_dump()
            | {"general_images": 0 if general is None else len(general.questions)},
            encoder_hashes={name: identity["rows"][name]["encoder"] for name in encoders},
            codebook_fingerprint=family.codebook.fingerprint,
            versions=environment() | (COMPILED if compiled else {}),
        )
        results.save(written)
        if pace is not None:
            for part in processes.gathered(encoding):
                pace.add(part)
    return results
