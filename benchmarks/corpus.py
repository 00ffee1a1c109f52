"""Images per second when tokenising a corpus: in one process, in two of torchrun, and by one and
two Ray workers.

    python -m benchmarks.corpus --rounds 3

The pocket encoder reads the general world's images, decoded and in memory, on one thread per
process. Time is measured while all processes work, not while they start, which takes seconds. The
backends are measured in turn, and the best of the rounds counts. Rows go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import results
from craft.corpus.backend import Workers
from craft.corpus.shard import CorpusEncoder, shards_of
from craft.corpus.tokens import tokenize_corpus
from craft.data.images.store import TensorStore
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.pocket.world import general_world
from craft.runtime.processes import ALONE, Processes, joined

SHARD, IMAGES = 128, 7587
#: Backend -> number of processes that work, and the backend that its rate is compared with.
BACKENDS = {
    "one process": (1, "one process"),
    "torchrun, 2 processes": (2, "one process"),
    "Ray, 1 worker": (1, "Ray, 1 worker"),
    "Ray, 2 workers": (2, "Ray, 1 worker"),
}


def images_per_second(workers: Workers | None = None, processes: Processes = ALONE) -> float:
    """Rate of all workers or processes together, once each of them has processed a shard or two."""
    torch.set_num_threads(1)
    models = ModelFamily.load()
    encoder = CorpusEncoder(EncoderPack.of(models.pretrained_tower()), models.codebook)
    areas = [area.images.pixels(range(len(area))) for area in general_world()]
    shards = shards_of(TensorStore(torch.cat(areas)), SHARD)
    begun = workers.count if workers else 1
    with tempfile.TemporaryDirectory() as out:
        place = Path(processes.from_main(lambda: out))
        first = shards[: begun * processes.count]
        assert sum(map(len, areas)) == IMAGES
        run: Iterator[int]
        if processes.count > 1:  # the first shards load the models
            list(tokenize_corpus(encoder, first, place / "warm", None, processes))
            run, skipped = tokenize_corpus(encoder, shards, place / "all", None, processes), 0
        else:
            run, skipped = tokenize_corpus(encoder, shards, place, workers), 2 * begun
        for _ in range(skipped):
            next(run)
        processes.wait()
        began = time.perf_counter()
        mine = sum(run)
        processes.wait()
        return sum(processes.gathered(mine)) / (time.perf_counter() - began)


def measured(backend: str) -> float:
    """The rate of a backend, measured in new processes."""
    command = [sys.executable, "-m"]
    if backend.startswith("torchrun"):
        command += ["torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"]
    command += ["benchmarks.corpus", "--backend", backend]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", choices=BACKENDS)
    args = parser.parse_args()
    if args.backend is not None:
        count, _ = BACKENDS[args.backend]
        workers = Workers(count, address="local") if args.backend.startswith("Ray") else None
        processes = joined(torch.device("cpu"))
        rate = images_per_second(workers, processes)
        if processes.is_main:
            print(rate)
        return
    best = dict.fromkeys(BACKENDS, 0.0)
    for _ in range(args.rounds):
        for backend in BACKENDS:
            rate = measured(backend)
            best[backend] = max(best[backend], rate)
            print(f"{backend}: {rate:.0f} images/s", flush=True)
    rows = [
        {
            "backend": backend,
            "images": IMAGES,
            "images_per_second": f"{best[backend]:.0f}",
            "against_one_worker": f"{best[backend] / best[alone]:.2f}",
        }
        for backend, (_, alone) in BACKENDS.items()
    ]
    results.append("corpus.csv", rows)


if __name__ == "__main__":
    main()
