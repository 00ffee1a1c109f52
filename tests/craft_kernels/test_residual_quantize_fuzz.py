"""Random codebooks and tokens of every kind, on every instruction set and path: codes, sums and
norms are those of the reference, which decides in float64 or, where that is too coarse, exactly."""

import pytest
import torch

from craft_kernels import FrozenCodebook, residual_quantize

native = pytest.importorskip("craft_kernels._native")

TOKENS = 2000  # of one seed
ISAS = ("baseline", "avx2", "avx512", "avx512_bf16", "amx")


def available_isas() -> list[str]:
    before, found = native.isa(), []
    for isa in ISAS:
        try:
            native.use_isa(isa)
        except ValueError:
            continue
        found.append(isa)
    native.use_isa(before)
    return found


def trained(words, g):
    """Centroids of a few large clusters and their neighbours, long and short."""
    centres = 3 * torch.randn(12, words.shape[1], generator=g)
    chosen = centres[torch.randint(12, (len(words),), generator=g)]
    return chosen + 0.3 * words * torch.rand(len(words), 1, generator=g)


CODEBOOKS = {
    "gaussian": lambda words, g: words,
    "trained": trained,
    "mean": lambda words, g: words + 4,
    "great mean": lambda words, g: words + 300 * torch.randn(words.shape[1], generator=g),
    "outliers": lambda words, g: (
        words * (1 + 300 * (torch.rand(len(words), 1, generator=g) > 0.97))
    ),
    "norms apart": lambda words, g: words * 10 ** torch.linspace(-3, 3, len(words))[:, None],
    "near duplicates": lambda words, g: (
        words[torch.randint(9, (len(words),), generator=g) % len(words)] + 1e-3 * words
    ),
    "channels": lambda words, g: words * torch.logspace(-2, 2, words.shape[1]),
    "one sign": lambda words, g: words.abs(),
    "coarse": lambda words, g: words.bfloat16().float(),
}
TOKEN_KINDS = {
    "gaussian": lambda z, words, g: z,
    "sums": lambda z, words, g: (
        0.3 * z + words[torch.randint(len(words), (3, len(z)), generator=g)].sum(0)
    ),
    "words": lambda z, words, g: words[torch.randint(len(words), (len(z),), generator=g)] + 0,
    "halfway": lambda z, words, g: (
        0.5 * words[torch.randint(len(words), (2, len(z)), generator=g)].sum(0)
    ),
    "long": lambda z, words, g: 1000 * z,
    "short": lambda z, words, g: 1e-4 * z,
    "offset": lambda z, words, g: z - 4,
}


def pick(table, g):
    return list(table)[int(torch.randint(len(table), (), generator=g))]


def differences(seed: int, isas: list[str], monkeypatch) -> list[str]:
    """Which instruction sets and paths differ from the reference."""
    g = torch.Generator().manual_seed(seed)
    k, d, levels = (int(torch.randint(1, top, (), generator=g)) for top in (450, 48, 5))
    book, kind = pick(CODEBOOKS, g), pick(TOKEN_KINDS, g)
    scale = 2.0 ** int(torch.randint(-12, 12, (), generator=g))
    words = CODEBOOKS[book](torch.randn(k, d, generator=g), g) * scale
    z = TOKEN_KINDS[kind](torch.randn(TOKENS, d, generator=g) * scale, words, g)
    expected = residual_quantize(z, words, levels, impl="reference")
    wrong = []
    for isa in isas:
        native.use_isa(isa)
        for path in ("gram", "streaming"):
            monkeypatch.setenv("CRAFT_KERNELS_PATH", path)
            got = residual_quantize(z, FrozenCodebook(words, levels), impl="native")
            if not all(torch.equal(a, b) for a, b in zip(got, expected, strict=True)):
                tokens = (got.codes != expected.codes).any(1).sum().item()
                wrong.append(f"seed {seed}, {isa}, {path}, {book}, {kind}: {tokens} tokens")
    return wrong


@pytest.fixture
def isas():
    before = native.isa()
    yield available_isas()
    native.use_isa(before)


@pytest.mark.parametrize("seed", range(10))
def test_short(seed, isas, monkeypatch):
    assert differences(seed, isas, monkeypatch) == []


@pytest.mark.fuzz
def test_a_million_tokens(isas, monkeypatch):
    wrong = []
    for seed in range(1000, 1000 + 1_000_000 // TOKENS):
        wrong += differences(seed, isas, monkeypatch)
    assert wrong == []
