"""python -m benchmarks.codebook_fit: residual k-means of ours beside FAISS, one thread each.

Both get the same rows, iterations and number of codewords. Errors are mean |r_L|^2 over rows that
neither has seen, assigned exactly; times are of the processor.
"""

from __future__ import annotations

import argparse
import time

import faiss
import torch
from torch import Tensor

from craft import quantize
from craft.codebook import Codebook
from craft.fitting import fit_codebook


def features(rows: int, dim: int) -> Tensor:  # [rows, D]
    """Groups of unequal size, whose directions vary unequally much."""
    draw = torch.Generator().manual_seed(0)
    groups = dim * 4
    centers = torch.randn(groups, dim, generator=draw)
    sizes = torch.rand(groups, generator=draw).square() + 0.01
    which = torch.multinomial(sizes, rows, replacement=True, generator=draw)
    spread = torch.linspace(1.0, 0.1, dim)
    return centers[which] + spread * torch.randn(rows, dim, generator=draw)


def ours(train: Tensor, size: int, levels: int, iterations: int) -> Codebook:
    return fit_codebook(train, size, levels, iterations=iterations, tolerance=0)


def theirs(train: Tensor, size: int, levels: int, iterations: int) -> Codebook:
    quantizer = faiss.ResidualQuantizer(train.shape[1], levels, size.bit_length() - 1)
    quantizer.max_beam_size = 1  # greedy, as everybody who reads codes level by level assigns
    quantizer.train_type = faiss.ResidualQuantizer.Train_default
    quantizer.cp.niter = iterations
    quantizer.cp.max_points_per_centroid = len(train)
    quantizer.train(train.numpy())
    tables = faiss.vector_to_array(quantizer.codebooks).reshape(levels, size, -1)
    return Codebook(torch.from_numpy(tables.copy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--size", type=int, default=1024, help="a power of two")
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    table = features(options.rows + 10_000, options.dim)
    train, unseen = table[:-10_000].contiguous(), table[-10_000:]
    for name, fit in (("craft.fit_codebook", ours), ("FAISS ResidualQuantizer", theirs)):
        begin = time.process_time()
        codebook = fit(train, options.size, options.levels, options.iterations)
        seconds = time.process_time() - begin
        codes = quantize(unseen, codebook).codes
        left = unseen.double() - codebook.lookup(codes).double()
        error = float(left.square().sum(1).mean())
        print(f"{name}: error {error:.4f}, {seconds:.1f} s of one core")


if __name__ == "__main__":
    main()
