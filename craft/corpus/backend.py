"""Where shards are worked on: in this process, or by workers of Ray, here or on a cluster."""

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
#: What is done with a shard.
Work = Callable[[Shard], Any]


@dataclass(frozen=True)
class Workers:
    """Workers of Ray.

    Args:
        count: how many work at a time.
        threads: of each. Rounding in the encoder depends on it, and with it a code in a near-tie.
        address: of a running cluster, or "local"; by default whatever ``RAY_ADDRESS`` names.
    """

    count: int
    threads: int = 1
    address: str | None = None


def each_shard(
    work: Callable[[Shard], T], shards: Sequence[Shard], workers: Workers | None = None
) -> Iterator[T]:
    """``work`` done on every shard; results come as they are ready, each shard's once.

    With Ray, a worker that dies is replaced and its shard done again, as often as it takes; an
    error that ``work`` raises ends everything.

    Args:
        work: picklable; what it keeps between shards stays with a worker.

    Raises:
        ImportError: workers are asked for and Ray is not installed.
    """
    if workers is None:
        yield from map(work, shards)
        return
    ray_data = _connect(workers)
    strategy = ray_data.TaskPoolStrategy(size=workers.count)
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]
    # Tasks, not actors: a task that dies with its worker is simply done again by another one.
    # The work travels as bytes, by which each worker recognises what it has unpacked already.
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
