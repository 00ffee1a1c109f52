"""Where shards are processed: in this process, or by Ray workers on this machine or a cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch

from craft.corpus.shard import Shard
from craft.errors import MissingPackageError

T = TypeVar("T")
#: A function applied to each shard.
Work = Callable[[Shard], Any]


@dataclass(frozen=True)
class Workers:
    """Ray workers.

    Args:
        count: number of workers that run at a time.
        threads: number of threads per worker. Rounding in the encoder depends on it, and so do
            codes in a near-tie.
        address: address of a running cluster, or "local"; by default the value of
            ``RAY_ADDRESS``.
    """

    count: int
    threads: int = 1
    address: str | None = None


def each_shard(
    work: Callable[[Shard], T], shards: Sequence[Shard], workers: Workers | None = None
) -> Iterator[T]:
    """Apply ``work`` to every shard, and yield one result per shard as soon as it is ready.

    With Ray, a worker that dies is replaced and its shard is processed again, as often as
    necessary. An error raised by ``work`` ends the run.

    Args:
        work: a picklable function; state that it keeps between shards is per worker.

    Raises:
        MissingPackageError: ``workers`` are given but Ray is not installed.
    """
    if workers is None:
        yield from map(work, shards)
        return
    ray_data = _connect(workers)
    strategy = ray_data.TaskPoolStrategy(size=workers.count)
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]
    # Tasks, not actors: if its worker dies, a task is simply run again by another.
    # The work is sent as bytes, by which a worker recognises what it has already unpickled.
    results = ray_data.from_items(rows, override_num_blocks=max(1, len(rows))).map(
        _do,
        fn_args=(pickle.dumps(work), workers.threads),
        num_cpus=workers.threads,
        compute=strategy,
    )
    for row in results.iter_rows():
        yield pickle.loads(row["result"])


def _do(row: dict[str, Any], work: bytes, threads: int) -> dict[str, bytes]:
    torch.set_num_threads(threads)
    return {"result": pickle.dumps(_unpacked(work)(pickle.loads(row["shard"])))}


@lru_cache(maxsize=1)
def _unpacked(work: bytes) -> Work:
    return pickle.loads(work)


def _connect(workers: Workers) -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError(
            "working on Ray needs Ray Data, which is not installed; pip install 'ray[data]>=2.51'"
        ) from error
    if not ray.is_initialized():
        here = {"num_cpus": workers.count * workers.threads, "include_dashboard": False}
        options = here if workers.address == "local" else {}
        ray.init(address=workers.address, log_to_driver=False, **options)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray.data
