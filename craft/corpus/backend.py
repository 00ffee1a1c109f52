"""Where shards are processed: in this process, or by Ray workers on this machine or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from craft.corpus.shard import Shard
from craft.errors import CraftError, MissingPackageError

#: A picklable function applied to each shard.
Work = Callable[[Shard], Any]
#: Does work on every shard; results come as they are ready, each shard's once.
EachShard = Callable[[Work, Iterable[Shard]], Iterator[Any]]

#: Shards that a worker has been given beside the one it works on, so that it never waits for more.
_AHEAD = 1
#: How often the shards of a worker that died are tried again.
_RETRIES = 3


@dataclass(frozen=True)
class Workers:
    """Ray workers.

    Args:
        count: number of workers; fewer run while the cluster has no room for all.
        threads: number of threads per worker. Rounding in the encoder depends on it, and so do
            codes in a near-tie.
        gpus: number of GPUs per worker; Ray shows a worker only its own, as cuda:0 and so on.
        address: address of a running cluster, or "local"; by default the value of
            ``RAY_ADDRESS``.
    """

    count: int
    threads: int = 1
    gpus: int = 0
    address: str | None = None


@contextmanager
def shard_workers(workers: Workers | None = None) -> Iterator[EachShard]:
    """Yield a function that applies work to shards: in this process, or on workers of Ray, which
    run as long as the block.

    A worker receives the work once, models included, and then shards, whose pixels it reads from
    shared memory if they are in memory. A worker that dies is replaced and its shards are processed
    again, up to three times. An error raised by the work ends the run.

    Raises (when the function is called):
        MissingPackageError: ``workers`` are given but Ray is not installed.
        CraftError: workers keep dying.
    """
    if workers is None:
        yield lambda work, shards: map(work, shards)
        return
    crew = _Crew(workers)
    try:
        yield crew.each
    finally:
        crew.dismiss()


class _Crew:
    """Actors of Ray, started when there is something to do."""

    def __init__(self, workers: Workers):
        self._workers = workers
        self._actors: list[Any] = []
        self._works = 0

    def each(self, work: Work, shards: Iterable[Shard]) -> Iterator[Any]:
        """See :data:`EachShard`."""
        shards = iter(shards)
        first = next(shards, None)
        if first is None:
            return
        ray = _connect(self._workers)
        self._start(ray)
        self._works += 1
        sent = [ray.put(work)]  # in a list, or Ray would unpack it for every shard
        left = chain([first], shards)
        # A worker is given shards once it runs: a cluster may have no room for all of them.
        busy = {actor.begin.remote(): actor for actor in self._actors}
        starting, handed = set(busy), 0
        while True:
            (ready,), _ = ray.wait(list(busy), num_returns=1)
            actor = busy.pop(ready)
            result = _result(ray, ready)
            for shard in _some(left, _AHEAD + 1 if ready in starting else 1):
                busy[actor.do.remote(self._works, sent, shard)] = actor
                handed += 1
            if ready not in starting:
                handed -= 1
                yield result
            if not handed:
                return

    def _start(self, ray: Any) -> None:
        if self._actors:
            return
        worker = ray.remote(
            num_cpus=self._workers.threads,
            num_gpus=self._workers.gpus,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )(_Worker)
        self._actors = [worker.remote(self._workers.threads) for _ in range(self._workers.count)]

    def dismiss(self) -> None:
        """End the workers."""
        for actor in self._actors:
            _connect(self._workers).kill(actor)
        self._actors = []


class _Worker:
    """What runs in a process of Ray's."""

    def __init__(self, threads: int):
        torch.set_num_threads(threads)
        self._number = 0
        self._work: Any = None

    def begin(self) -> None:
        """Returns once the worker runs."""

    def do(self, number: int, work: list[Any], shard: Shard) -> Any:
        """Work number ``number``, which is fetched when it is first asked for."""
        import ray

        if number != self._number:
            self._work = None  # let go of its models before others come
            self._work = ray.get(work[0])
            self._number = number
        return self._work(shard)


def _some(items: Iterator[Shard], count: int) -> list[Shard]:
    """The next ``count`` items, or what is left."""
    return [item for _, item in zip(range(count), items, strict=False)]


def _result(ray: Any, ready: Any) -> Any:
    """What a worker returned, or its error as it raised it."""
    try:
        return ray.get(ready)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise CraftError(
            "workers of Ray keep dying, or cannot start (is there too little memory?): "
            f"{' '.join(str(error).split()):.300}"
        ) from error


def _connect(workers: Workers) -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingPackageError(
            "working on Ray needs Ray, which is not installed; pip install 'ray>=2.51'"
        ) from error
    if not ray.is_initialized():
        here = {"num_cpus": workers.count * workers.threads, "include_dashboard": False}
        options = here if workers.address == "local" else {}
        ray.init(address=workers.address, log_to_driver=False, **options)
    return ray
