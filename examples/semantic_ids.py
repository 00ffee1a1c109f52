"""Semantic IDs: short code tuples for items, such that similar items begin alike.

    python examples/semantic_ids.py

Generative recommenders name an item by the residual codes of its embedding. Here the items are the
functions of NumPy and their embeddings come from the words of the documentation, so that the
example runs anywhere in seconds; with embeddings of a model, only ``embed`` changes.
"""

from __future__ import annotations

import inspect
import math
import re
from collections import Counter

import numpy as np
import torch
from torch import Tensor

import craft

Item = tuple[int, ...]


def items() -> dict[str, str]:
    """Documentation by name."""
    modules = {"": np, "linalg.": np.linalg, "fft.": np.fft, "random.": np.random}
    found = {}
    for prefix, module in modules.items():
        for name in sorted(module.__all__):
            thing = getattr(module, name)
            text = inspect.getdoc(thing) if callable(thing) else None
            if text:
                found[prefix + name] = text
    return found


def embed(texts: list[str], dim: int = 32) -> Tensor:  # [N, D]
    """Latent semantic analysis: the main directions of word counts, rare words weighing more."""
    bags = [Counter(re.findall(r"[a-z]{3,}", text.lower())) for text in texts]
    holding = Counter(word for bag in bags for word in bag)
    column = {word: i for i, word in enumerate(sorted(holding))}
    table = torch.zeros(len(texts), len(column), dtype=torch.float64)
    for row, bag in enumerate(bags):
        for word, count in bag.items():
            table[row, column[word]] = math.log1p(count) * math.log(len(texts) / holding[word])
    table = torch.nn.functional.normalize(table, dim=1)
    left, strength, _ = torch.linalg.svd(table, full_matrices=False)
    return (left * strength)[:, :dim].float()


def collisions(ids: list[Item]) -> int:
    """Items that share their ID with another."""
    times = Counter(ids)
    return sum(times[one] > 1 for one in ids)


def without_collisions(z: Tensor, codebook: craft.Codebook, codes: Tensor) -> list[Item]:
    """The first item keeps its ID; a later one takes the nearest free one that begins alike."""
    last = codebook.levels - 1
    words = codebook.table if codebook.shared else codebook.table[last]
    before = codebook.lookup(codes[:, :last])
    taken: set[Item] = set()
    for row, code in enumerate(codes.tolist()):
        if tuple(code) in taken:
            distances = (z[row] - before[row] - words).double().square().sum(1)
            free = (
                (*code[:last], word)
                for word in distances.argsort(stable=True).tolist()
                if (*code[:last], word) not in taken
            )
            code = next(free)
        taken.add(tuple(code))
        codes[row, last] = code[last]
    return [tuple(code) for code in codes.tolist()]


def main() -> list[Item]:
    texts = items()
    names, z = list(texts), embed(list(texts.values()))
    codebook = craft.fit_codebook(z, size=64, levels=3)
    codes = craft.quantize(z, codebook).codes
    plain = [tuple(code) for code in codes.tolist()]
    ids = without_collisions(z, codebook, codes.clone())
    print(f"{len(ids)} items, {codebook}")
    print(f"share an ID with another: {collisions(plain)}, then {collisions(ids)}")
    for name in ("sin", "cos", "linalg.svd", "linalg.svdvals", "fft.fft", "fft.rfft"):
        print(f"{name:>15}: {ids[names.index(name)]}")
    return ids


if __name__ == "__main__":
    main()
