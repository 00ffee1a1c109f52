"""The whole reproduction: jobs in several processes, which can be resumed, then the tables."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from craft.errors import CraftError
from craft.evaluation.results import RESULTS
from craft.family.family import ModelFamily
from craft.pocket.reproduction.examination import run_job
from craft.pocket.reproduction.outcomes import Outcomes
from craft.pocket.reproduction.plan import SURROGATES, Job, Scale, jobs
from craft.pocket.reproduction.tables import reproduce_tables
from craft.pocket.reproduction.training_cost import training_costs
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.whole_file import write_json

JOBS, COSTS = "jobs", "costs.json"


def reproduce(
    scale: Scale,
    models: ModelFamily,
    out: Path,
    *,
    workers: int = 1,
    measure_costs: Callable[[], dict[str, dict[str, float]]] = training_costs,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, Any]:
    """Do the jobs that are missing and write ``results.json``.

    Every job leaves a file in ``out/jobs``, so an interrupted run resumes with the first one that
    is missing; it does not notice whether code or models have changed since.

    Args:
        workers: processes that each do a job at a time, on one thread; 1 works in this process.

    Returns:
        What results.json holds, see :func:`~craft.pocket.reproduction.tables.reproduce_tables`,
        with the ``seconds`` of work of all jobs and of this call.

    Raises:
        CraftError: a language model is missing, or ``out`` holds results of another scale.
    """
    missing = [name for name in SURROGATES if name not in models.names]
    if missing:
        raise CraftError(f"{models.directory} lacks {', '.join(missing)}, which the tables need")
    started = time.monotonic()
    directory = out / JOBS
    directory.mkdir(parents=True, exist_ok=True)
    _same_scale(directory, scale)
    # First, while no other process is busy.
    costs_file = out / COSTS
    if not costs_file.is_file():
        write_json(costs_file, measure_costs())
    todo = list(jobs(scale))
    task = f"{len(todo)} encoders"
    on_progress(task, 0, len(todo))
    for done, _ in enumerate(_work(todo, scale, models, directory, workers), 1):
        on_progress(task, done, len(todo))
    outcomes = Outcomes(directory, scale)
    results = reproduce_tables(outcomes, json.loads(costs_file.read_text()))
    results["seconds"] = {
        "work": outcomes.seconds,
        "this call": time.monotonic() - started,
        "workers": workers,
    }
    write_json(out / RESULTS, results, indent=1)
    return results


def _work(
    todo: Iterable[Job], scale: Scale, models: ModelFamily, directory: Path, workers: int
) -> Iterator[None]:
    """Yield whenever a job is done; the first failure stops all."""
    if workers == 1:
        for job in todo:
            run_job(job, scale, models, directory)
            yield
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, _prepare, (models.directory, str(models.device))
    ) as pool:
        under_way: list[Future[Path]] = [
            pool.submit(_run_here, job, scale, directory) for job in todo
        ]
        try:
            for future in as_completed(under_way):
                future.result()
                yield
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_models: ModelFamily | None = None


def _prepare(directory: Path, device: str) -> None:
    global _models
    torch.set_num_threads(1)
    _models = ModelFamily.load(directory, device=device)


def _run_here(job: Job, scale: Scale, directory: Path) -> Path:
    assert _models is not None
    return run_job(job, scale, _models, directory)


def _same_scale(directory: Path, scale: Scale) -> None:
    """Record the scale, or raise CraftError if the jobs there are of another one."""
    note = directory / "scale.json"
    wanted = json.loads(json.dumps(scale.__dict__))
    if not note.is_file():
        write_json(note, wanted)
        return
    found = json.loads(note.read_text())
    if found != wanted:
        raise CraftError(
            f"{directory} holds jobs of scale {found}, this run is {wanted}; choose another --out"
        )
