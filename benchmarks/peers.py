"""Residual quantisation by other libraries, each as a function z [N, D] -> codes [N, L].

All of them get the codewords beforehand and may prepare anything; only the call is timed.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_info
from torch import Tensor

Quantizer = Callable[[Tensor], Tensor]  # [N, D] -> [N, L]


def level_by_level(
    codebook: Tensor,  # [K, D] or [L, K, D]
    levels: int,
    nearest: Callable[[int, Tensor], Tensor],  # level, residual [N, D] -> codes [N]
) -> Quantizer:
    def quantize(z: Tensor) -> Tensor:
        residual, codes = z, []
        for level in range(levels):
            words = codebook if codebook.ndim == 2 else codebook[level]
            codes.append(nearest(level, residual))
            residual = residual - words[codes[-1]]
        return torch.stack(codes, 1)

    return quantize


def words_of(codebook: Tensor, level: int) -> Tensor:  # [K, D]
    return codebook if codebook.ndim == 2 else codebook[level]


def plain_formula(codebook: Tensor, levels: int, dtype: torch.dtype) -> Quantizer:
    """|x|^2 + |c|^2 - 2 x.c by addmm and argmin at every level, as in rq-vae and VILA-U."""
    books = [words_of(codebook, level).to(dtype).t() for level in range(levels)]

    def nearest(level: int, residual: Tensor) -> Tensor:
        x, words = residual.to(dtype), books[level]
        norms = x.square().sum(1, keepdim=True) + words.square().sum(0)
        return torch.addmm(norms, x, words, alpha=-2.0).argmin(1)

    return level_by_level(codebook, levels, nearest)


def compiled_plain_formula(codebook: Tensor, levels: int) -> Quantizer:
    """The plain formula in float32, with each level compiled by torch.compile for its shapes."""

    @torch.compile(dynamic=False)
    def nearest_of(x: Tensor, words: Tensor) -> Tensor:
        norms = x.square().sum(1, keepdim=True) + words.square().sum(0)
        return torch.addmm(norms, x, words, alpha=-2.0).argmin(1)

    def nearest(level: int, residual: Tensor) -> Tensor:
        return nearest_of(residual, words_of(codebook, level).t())

    return level_by_level(codebook, levels, nearest)


def torch_cdist(codebook: Tensor, levels: int) -> Quantizer:
    def nearest(level: int, residual: Tensor) -> Tensor:
        return torch.cdist(residual, words_of(codebook, level)).argmin(1)

    return level_by_level(codebook, levels, nearest)


def vector_quantize_pytorch(codebook: Tensor, levels: int) -> Quantizer:
    from vector_quantize_pytorch import ResidualVQ

    shared = codebook.ndim == 2
    peer = ResidualVQ(
        dim=codebook.shape[-1],
        codebook_size=codebook.shape[-2],
        num_quantizers=levels,
        shared_codebook=shared,
    ).eval()
    for level in range(1 if shared else levels):
        peer.get_buffer(f"layers.{level}._codebook.embed").copy_(words_of(codebook, level))

    @torch.inference_mode()
    def quantize(z: Tensor) -> Tensor:
        return peer(z.unsqueeze(0))[1][0]

    return quantize


@functools.cache
def _faiss():
    """The module, set to the fastest kernels of the OpenBLAS in its wheel.

    That release mistakes some processors for old ones, and the environment's OpenBLAS settings are
    meant for other libraries.
    """
    for name in [name for name in os.environ if name.startswith("OPENBLAS_")]:
        del os.environ[name]
    if "AVX512" in torch.backends.cpu.get_cpu_capability():
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    return importlib.import_module("faiss")


def faiss_blas() -> str:
    """Name, version and kernels of the BLAS that FAISS uses."""
    _faiss()
    for library in threadpool_info():
        if "faiss" in library["filepath"] and library["user_api"] == "blas":
            names = (str(library.get(key)) for key in ("internal_api", "version", "architecture"))
            return " ".join(names)
    return "unknown"


def faiss_flat(codebook: Tensor, levels: int) -> Quantizer:
    """IndexFlatL2, searched at every level."""
    faiss = _faiss()
    faiss.omp_set_num_threads(torch.get_num_threads())
    indexes = []
    for level in range(1 if codebook.ndim == 2 else levels):
        indexes.append(faiss.IndexFlatL2(codebook.shape[-1]))
        indexes[-1].add(words_of(codebook, level).numpy())

    def nearest(level: int, residual: Tensor) -> Tensor:
        return torch.from_numpy(indexes[level % len(indexes)].search(residual.numpy(), 1)[1][:, 0])

    return level_by_level(codebook, levels, nearest)


def faiss_residual_quantizer(codebook: Tensor, levels: int) -> Quantizer:
    """FAISS's own residual quantiser with a beam of one: greedy, like all others here."""
    faiss = _faiss()
    K, D = codebook.shape[-2:]
    bits = K.bit_length() - 1
    if 1 << bits != K:
        raise ValueError(f"FAISS's ResidualQuantizer needs a power of two codewords, got {K}")
    faiss.omp_set_num_threads(torch.get_num_threads())
    peer = faiss.ResidualQuantizer(D, levels, bits)
    peer.max_beam_size = 1
    words = codebook.expand(levels, K, D).reshape(-1).contiguous()
    faiss.copy_array_to_vector(words.numpy(), peer.codebooks)
    peer.is_trained = True

    def quantize(z: Tensor) -> Tensor:
        packed = peer.compute_codes(z.numpy())
        digits = np.unpackbits(packed, axis=1, bitorder="little")[:, : levels * bits]
        digits = digits.reshape(len(z), levels, bits).astype(np.int64)
        return torch.from_numpy(digits @ (1 << np.arange(bits)))

    return quantize


def scikit_learn(codebook: Tensor, levels: int) -> Quantizer:
    from sklearn.metrics import (  # pyright: ignore[reportMissingImports]
        pairwise_distances_argmin,
    )

    def nearest(level: int, residual: Tensor) -> Tensor:
        found = pairwise_distances_argmin(residual.numpy(), words_of(codebook, level).numpy())
        return torch.from_numpy(found)

    return level_by_level(codebook, levels, nearest)


def super_k_means(codebook: Tensor, levels: int) -> Quantizer:
    """SuperKMeans' assignment at every level.

    It multiplies all pairs with its own OpenBLAS: the library's well-known pruning is part of its
    training only.
    """
    module = importlib.import_module("superkmeans")
    K, D = codebook.shape[-2:]
    peer = module.SuperKMeans(
        n_clusters=K, dimensionality=D, n_threads=torch.get_num_threads(), verbose=False
    )

    def nearest(level: int, residual: Tensor) -> Tensor:
        found = peer.assign(residual.numpy(), words_of(codebook, level).numpy())
        return torch.from_numpy(found.astype(np.int64))

    return level_by_level(codebook, levels, nearest)


PEERS: dict[str, Callable[[Tensor, int], Quantizer]] = {
    "plain formula fp32": lambda book, levels: plain_formula(book, levels, torch.float32),
    "plain formula bf16": lambda book, levels: plain_formula(book, levels, torch.bfloat16),
    "plain formula fp32, torch.compile": compiled_plain_formula,
    "torch.cdist": torch_cdist,
    "vector-quantize-pytorch": vector_quantize_pytorch,
    "FAISS IndexFlatL2": faiss_flat,
    "FAISS ResidualQuantizer": faiss_residual_quantizer,
    "scikit-learn": scikit_learn,
}
_OPTIONAL = {"SuperKMeans": ("superkmeans", super_k_means)}  # no dependencies of ours
PEERS |= {
    name: make for name, (module, make) in _OPTIONAL.items() if importlib.util.find_spec(module)
}


def missing_peers() -> list[str]:
    """Peers that are left out because their package is not installed."""
    return [f"{name} (pip install {_OPTIONAL[name][0]})" for name in _OPTIONAL if name not in PEERS]
