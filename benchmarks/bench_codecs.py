"""The quantisers of transformers' models beside the same ones patched, in turn in one run.

Only the quantiser is timed, with its projections: what comes before and after it is the same. The
codebooks are random, each level's shorter than the one before as in trained models, and features
are sums of codewords and noise. Codes of a sample are compared with brute force in float64.

`make bench` takes the short set. Rows go to benchmarks/results/codecs.csv: medians by the clock on
the wall, and the least time of all processors, which other load on the machine disturbs less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import DacConfig, EncodecConfig, MimiConfig
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAEVectorQuantizer
from transformers.models.dac.modeling_dac import DacResidualVectorQuantizer
from transformers.models.emu3.configuration_emu3 import Emu3VQVAEConfig
from transformers.models.emu3.modeling_emu3 import Emu3VQVAEVectorQuantizer
from transformers.models.encodec.modeling_encodec import EncodecResidualVectorQuantizer
from transformers.models.glm_image.configuration_glm_image import GlmImageVQVAEConfig
from transformers.models.glm_image.modeling_glm_image import GlmImageVQVAEVectorQuantizer
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAEVectorQuantizer
from transformers.models.mimi.modeling_mimi import MimiSplitResidualVectorQuantizer

from benchmarks import results
from benchmarks.interleaved import interleaved, percentiles
from craft.integrations.codecs import patch

SAMPLE = 256  # tokens whose codes are compared


class Case(NamedTuple):
    model: str
    levels: int
    tokens: int
    threads: int = 2

    def __str__(self) -> str:
        return f"{self.model}-L{self.levels}-N{self.tokens}-{self.threads}threads"


# Frames: 1 is a step of a stream. Mimi has 12.5 a second, EnCodec 75, DAC 86: 20 seconds
# (DAC 10), 10 minutes.
SHORT = [
    *(Case("mimi", levels, frames) for levels in (1, 8, 32) for frames in (1, 250)),
    *(Case("encodec", levels, frames) for levels in (8, 32) for frames in (1, 1500)),
    Case("mimi", 32, 7500),
    Case("dac", 9, 1),
    Case("dac", 9, 860),
    Case("chameleon", 1, 1024),
    Case("janus", 1, 576),
    Case("emu3", 1, 1024),
]
FULL = [
    Case("encodec", 8, 45000),
    Case("encodec", 32, 45000),
    Case("glm_image", 1, 1024),
    *(case._replace(threads=1) for case in SHORT),
]
CASES = [pytest.param(case, id=str(case)) for case in SHORT] + [
    pytest.param(case, id=str(case), marks=pytest.mark.full) for case in FULL
]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def residual_features(books: list[Tensor], tokens: int, seed: int = 0) -> Tensor:  # [N, D]
    """Fills the codebooks, and draws features that they describe."""
    generator = torch.Generator().manual_seed(seed)
    z = 0.1 * torch.randn(tokens, books[0].shape[1], generator=generator)
    for level, book in enumerate(books):
        book.copy_(0.9**level * torch.randn(book.shape, generator=generator))
        z += book[torch.randint(len(book), (tokens,), generator=generator)]
    return z


class Subject(NamedTuple):
    quantizer: nn.Module
    call: Callable[[], Any]
    codes: Callable[[], Tensor]  # [n, levels] of the sample
    truth: Callable[[], Tensor]


def mimi(case: Case) -> Subject:
    quantizer: Any = MimiSplitResidualVectorQuantizer(MimiConfig()).eval()
    groups = (
        quantizer.semantic_residual_vector_quantizer,
        quantizer.acoustic_residual_vector_quantizer,
    )
    z = noise(1, 512, case.tokens)
    for group in groups:
        books = [layer.codebook.embed_sum for layer in group.layers]
        residual_features(books, 1)
        scale = group.input_proj(z).std()
        for book in books:
            book.mul_(scale)

    def truth() -> Tensor:
        sample = z[..., :SAMPLE]
        parts = [
            true_codes(
                group.input_proj(sample)[0].T, [layer.codebook.embed for layer in group.layers]
            )
            for group in groups
        ]
        return torch.cat(parts, 1)[:, : case.levels]

    def codes() -> Tensor:
        return quantizer.encode(z[..., :SAMPLE], case.levels)[:, 0].T

    return Subject(quantizer, lambda: quantizer.encode(z, case.levels), codes, truth)


def encodec(case: Case) -> Subject:
    quantizer: Any = EncodecResidualVectorQuantizer(EncodecConfig()).eval()
    books = [layer.codebook.embed for layer in quantizer.layers]
    z = residual_features(books, case.tokens).T[None].contiguous()
    bandwidth = 0.75 * case.levels

    def codes() -> Tensor:
        return quantizer.encode(z[..., :SAMPLE], bandwidth)[:, 0].T

    def truth() -> Tensor:
        return true_codes(z[0, :, :SAMPLE].T, books[: case.levels])

    return Subject(quantizer, lambda: quantizer.encode(z, bandwidth), codes, truth)


def dac(case: Case) -> Subject:
    quantizer: Any = DacResidualVectorQuantizer(DacConfig()).eval()
    z = noise(1, 1024, case.tokens)
    for level in quantizer.quantizers:
        level.in_proj.weight.copy_(noise(8, 1024, 1) / 32)
        level.out_proj.weight.copy_(noise(1024, 8, 1, seed=1) / 16)
        level.codebook.weight.copy_(noise(1024, 8, seed=2))

    def codes() -> Tensor:
        return quantizer(z[..., :SAMPLE], case.levels)[1][0].T

    def truth() -> Tensor:
        """The levels' own projections; in float64 the search alone."""
        found: list[Tensor] = []
        undo = [_listen_to_dac(level, found) for level in quantizer.quantizers[: case.levels]]
        quantizer(z[..., :SAMPLE], case.levels)
        for step in undo:
            step()
        return torch.stack(found, 1)

    return Subject(quantizer, lambda: quantizer(z, case.levels), codes, truth)


def _listen_to_dac(level: Any, found: list[Tensor]) -> Callable[[], None]:
    """Has a level give the true codes, and lists them."""

    def decode_latents(latents: Tensor) -> tuple[Tensor, Tensor]:
        unit = nn.functional.normalize
        directions = unit(latents[0].T)
        codes = true_codes(directions, [unit(level.codebook.weight)])[:, 0]
        found.append(codes)
        return level.codebook(codes[None]).transpose(1, 2), codes[None]

    level.decode_latents = decode_latents
    return lambda: vars(level).pop("decode_latents") and None


def table(make: Callable[[], nn.Module], layout: Callable[[Tensor], Tensor]):
    """An image tokenizer; `layout` gives features [N, D] the shape that its quantiser takes."""

    def subject(case: Case) -> Subject:
        quantizer: Any = make().eval()
        weight = quantizer.embedding.weight.data
        features = residual_features([weight], case.tokens)
        z, sample = layout(features), layout(features[:SAMPLE])

        def codes() -> Tensor:
            found = quantizer(sample)
            return (found[-1] if isinstance(found, tuple) else found).reshape(-1, 1)

        def truth() -> Tensor:
            if "Glm" not in type(quantizer).__name__:
                return true_codes(features[:SAMPLE], [weight])
            unit = nn.functional.normalize
            return true_codes(unit(features[:SAMPLE]), [unit(weight)])

        return Subject(quantizer, lambda: quantizer(z), codes, truth)

    return subject


def as_image(x: Tensor) -> Tensor:  # [1, D, N, 1]
    return x.T[None, :, :, None].contiguous()


SUBJECTS = {
    "mimi": mimi,
    "encodec": encodec,
    "chameleon": table(lambda: ChameleonVQVAEVectorQuantizer(ChameleonVQVAEConfig()), as_image),
    "janus": table(lambda: JanusVQVAEVectorQuantizer(JanusVQVAEConfig()), as_image),
    "glm_image": table(lambda: GlmImageVQVAEVectorQuantizer(GlmImageVQVAEConfig()), as_image),
    "dac": dac,
    "emu3": table(
        lambda: Emu3VQVAEVectorQuantizer(Emu3VQVAEConfig()), lambda x: as_image(x)[:, None]
    ),
}


def true_codes(z: Tensor, books: list[Tensor]) -> Tensor:  # [N, L]
    """float64 brute force."""
    residual, codes = z, []
    for book in books:
        wide = book.double()
        codes.append((residual.double() @ wide.T - 0.5 * wide.square().sum(1)).argmax(1))
        residual = residual - book[codes[-1]]
    return torch.stack(codes, 1)


@pytest.mark.parametrize("case", CASES)
def test_beside_transformers(case: Case, benchmark) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    try:
        with torch.inference_mode():
            compare(case, benchmark)
    finally:
        torch.set_num_threads(before)


def compare(case: Case, benchmark) -> None:
    subject = SUBJECTS[case.model](case)
    truth = subject.truth()

    def patched(call: Callable[[], Any]) -> Callable[[], Any]:
        """With what was put on the quantiser; patching and unpatching take microseconds."""

        def run() -> Any:
            for module, name, method in put_on:
                setattr(module, name, method)
            try:
                return call()
            finally:
                for module, name, _ in put_on:
                    del vars(module)[name]

        return run

    with patch(subject.quantizer) as handle:
        put_on = [
            (r.quantizer, r.method, vars(r.quantizer)[r.method]) for r in handle._replacements
        ]
    variants = {"transformers": subject.call, "ours": patched(subject.call)}
    codes = {"transformers": subject.codes, "ours": patched(subject.codes)}
    wrong = {name: (call() != truth).any(1).float().mean().item() for name, call in codes.items()}
    assert wrong["ours"] == 0
    interleaved(variants, 2)
    rounds = 50 if case.tokens == 1 else 2 if case.tokens > 2000 else 9
    wall = interleaved(variants, rounds)
    processor = interleaved(variants, rounds, time.process_time)
    benchmark.pedantic(variants["ours"], rounds=1)  # so that pytest-benchmark lists the case
    rows = []
    for name in variants:
        p20, p50, p80 = percentiles(wall[name])
        rows.append(
            {
                **case._asdict(),
                "variant": name,
                "p20_ms": f"{1e3 * p20:.3f}",
                "p50_ms": f"{1e3 * p50:.3f}",
                "p80_ms": f"{1e3 * p80:.3f}",
                "least_cpu_ms": f"{1e3 * min(processor[name]):.3f}",
                "times_faster": f"{percentiles(wall['transformers'])[1] / p50:.2f}",
                "times_less_cpu": f"{min(processor['transformers']) / min(processor[name]):.2f}",
                "wrong_tokens": f"{wrong[name]:.4f}",
                "transformers": transformers.__version__,
            }
        )
        print(case, *rows[-1].values())
    results.append("codecs.csv", rows)
