"""The whole reproduction: resumable jobs in several processes, then the tables."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from craft.errors import CraftError
from craft.evaluation.results import RESULTS
from craft.family.family import ModelFamily
from craft.family.layout import CODEBOOK, PRIOR, SIGLIP
from craft.pocket.reproduction.examination import job_file, read_job, run_job
from craft.pocket.reproduction.outcomes import Outcomes
from craft.pocket.reproduction.plan import SURROGATES, Job, Scale, jobs
from craft.pocket.reproduction.tables import reproduce_tables
from craft.pocket.reproduction.training_cost import training_costs
from craft.runtime.json_cards import CHECKSUM, checksum, read_json, with_checksum
from craft.runtime.own_process import end_after
from craft.runtime.progress import OnProgress, ignore_progress
from craft.runtime.stored_files import StoredFileError, file_hash
from craft.runtime.whole_file import write_json

log = logging.getLogger(__name__)

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
    """Run the missing jobs and write ``results.json``.

    Every job leaves a file in ``out/jobs``, so an interrupted run resumes with the first one that
    is missing or damaged; it does not notice changes of the code. Existing files are read before
    any job runs.

    Args:
        workers: number of processes that each run one job at a time on one thread; 1 runs all jobs
            in this process.

    Returns:
        The content of results.json, see :func:`~craft.pocket.reproduction.tables.reproduce_tables`,
        with the ``seconds`` of all jobs and of this call.

    Raises:
        CraftError: a language model is missing, or ``out`` contains results of another scale or of
            other models.
    """
    missing = [name for name in SURROGATES if name not in models.names]
    if missing:
        raise CraftError(f"{models.directory} lacks {', '.join(missing)}, which the tables need")
    started = time.monotonic()
    directory = out / JOBS
    todo, made_of = list(jobs(scale)), _hash_of(models)
    for job in todo:  # refuse unusable results now, not after hours of work
        read_job(job_file(directory, job), job, scale, made_of)
    directory.mkdir(parents=True, exist_ok=True)
    # Measured first, while no other process is busy.
    costs = _read_costs(out / COSTS)
    if costs is None:
        costs = measure_costs()
        write_json(out / COSTS, with_checksum(costs))
    task = f"{len(todo)} encoders"
    on_progress(task, 0, len(todo))
    with closing(_work(todo, scale, models, directory, made_of, workers)) as working:
        for done, _ in enumerate(working, 1):
            on_progress(task, done, len(todo))
    outcomes = Outcomes(directory, scale, made_of)
    results = reproduce_tables(outcomes, costs)
    results["seconds"] = {
        "work": outcomes.seconds,
        "this call": time.monotonic() - started,
        "workers": workers,
    }
    write_json(out / RESULTS, results, indent=1)
    return results


def _work(
    todo: Iterable[Job],
    scale: Scale,
    models: ModelFamily,
    directory: Path,
    made_of: str,
    workers: int,
) -> Generator[None]:
    """Yield whenever a job is done; the first failure, or an interruption, stops all jobs.

    The processes also end if this one is killed.
    """
    if workers == 1:
        for job in todo:
            run_job(job, scale, models, directory, made_of)
            yield
        return
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    settings = (models.directory, str(models.device), reader)
    with writer, ProcessPoolExecutor(workers, context, _prepare, settings) as pool:
        try:
            under_way: list[Future[Path]] = [
                pool.submit(_run_here, job, scale, directory, made_of) for job in todo
            ]
            for future in as_completed(under_way):
                future.result()
                yield
        except BaseException:
            writer.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_models: ModelFamily | None = None


def _prepare(directory: Path, device: str, pipe: Connection) -> None:
    """Set up a worker process, which ends when the other end of the pipe is closed."""
    global _models
    end_after(lambda: pipe.poll(None))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C and ends us
    torch.set_num_threads(1)
    _models = ModelFamily.load(directory, device=device)


def _run_here(job: Job, scale: Scale, directory: Path, made_of: str) -> Path:
    assert _models is not None
    return run_job(job, scale, _models, directory, made_of)


def _read_costs(path: Path) -> dict[str, dict[str, float]] | None:
    """Costs measured before; None if there are none, or their file is damaged."""
    if not path.exists():
        return None
    try:
        found = read_json(path, "the measured costs")
    except StoredFileError as error:
        log.warning("%s; costs will be measured again", error)
        return None
    if found.get(CHECKSUM) != checksum(found):
        log.warning("%s is not what was written; costs will be measured again", path)
        return None
    del found[CHECKSUM]
    return found


def _hash_of(models: ModelFamily) -> str:
    """Hash of the names and contents of all model files that the jobs read."""
    root = models.directory
    folders = [root / name for name in (SIGLIP, *models.names)]
    files = [root / CODEBOOK, root / PRIOR, *(x for f in folders for x in f.rglob("*"))]
    names = {p.relative_to(root).as_posix(): file_hash(p) for p in files if p.is_file()}
    return checksum(names)
