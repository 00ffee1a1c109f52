"""Images per second when tokenising a corpus: in this process, and by one and two Ray workers.

    python -m benchmarks.corpus

The pocket encoder reads the general world's images, decoded and in memory, on one thread per
process. Workers process a few images before the clock starts. Rows go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import results
from craft.corpus.backend import Workers
from craft.corpus.shard import CorpusEncoder, shards_of
from craft.corpus.tokens import tokenize_corpus
from craft.data.images.store import ImageStore, TensorStore
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.pocket.world import general_world

BACKENDS = {"this process": None, "Ray, 1 worker": 1, "Ray, 2 workers": 2}


def images_per_second(encoder: CorpusEncoder, images: ImageStore, workers: Workers | None) -> float:
    shards = shards_of(images, 512)  # a task costs tenths of a second in Ray
    with tempfile.TemporaryDirectory() as out:
        # Starting workers takes seconds, once, which does not matter for a real corpus.
        warm = shards_of(images.take(range(64)), 16)
        list(tokenize_corpus(encoder, warm, Path(out) / "warm", workers))
        begin = time.perf_counter()
        count = sum(tokenize_corpus(encoder, shards, Path(out) / "all", workers))
        return count / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1, help="repetitions of the corpus")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = ModelFamily.load()
    encoder = CorpusEncoder(EncoderPack.of(models.pretrained_tower()), models.codebook)
    images = TensorStore(
        torch.cat([area.images.pixels(range(len(area))) for area in general_world()]).repeat(
            args.times, 1, 1, 1
        )
    )
    rows, reference = [], 0.0
    for name, count in BACKENDS.items():
        workers = None if count is None else Workers(count, address="local")
        rate = images_per_second(encoder, images, workers)
        reference = rate if count == 1 else reference
        rows.append(
            {
                "backend": name,
                "images": len(images),
                "images_per_second": f"{rate:.0f}",
                "against_one_worker": f"{rate / reference:.2f}" if reference else "",
            }
        )
        print(rows[-1], flush=True)
        if workers is not None:
            import ray

            ray.shutdown()
    results.append("corpus.csv", rows)


if __name__ == "__main__":
    main()
