"""Prefill with all and with pruned visual tokens: FLOPs, latency and peak memory.

    python -m benchmarks.inference_efficiency        # SigLIP-L/16 at 256 pixels with Qwen2-0.5B

Table 4 of the paper at sizes that fit a laptop, with random weights, on which none of these figures
depends. One image and one question, up to the first answer token. *prefill* begins at the codes:
selection, gathering, projector and language model; *whole* adds encoder and quantiser.

FLOPs are counted by torch's FlopCounterMode, two per multiply-add: matrix products and
convolutions, including those of attention in its eager form. Quantisation and selection are opaque
to it; the brute force that quantisation replaces, 2 L N K D, would be the same with and without
pruning. Rows go to benchmarks/results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

import craft
from benchmarks import results
from benchmarks.interleaved import interleaved, peak_extra_bytes, percentiles
from craft_kernels import FrozenCodebook, ResidualCodes

PIXELS, PATCH = 256, 16
VISION = SiglipVisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=PIXELS,
    patch_size=PATCH,
)
LANGUAGE = Qwen2Config(
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    vocab_size=151936,
    tie_word_embeddings=True,
)
K, LEVELS, GRID = 16384, 4, (PIXELS // PATCH, PIXELS // PATCH)


class Pipeline:
    """From pixels and a question to the first answer token."""

    def __init__(self, text_tokens: int, dtype: torch.dtype):
        torch.manual_seed(0)
        width, hidden = VISION.hidden_size, LANGUAGE.hidden_size
        self.vision = SiglipVisionModel(VISION).eval()
        self.projector = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        ).to(dtype)
        self.language = Qwen2ForCausalLM(LANGUAGE).eval()
        for model in (self.vision, self.language):
            nn.Module.to(model, dtype=dtype)
        self.pixels = torch.rand(1, 3, PIXELS, PIXELS, dtype=dtype)
        self.question = torch.randint(LANGUAGE.vocab_size, (1, text_tokens))
        features = self.features()
        # Codewords are distributed like the features, so that an image has many times fewer
        # distinct codes than tokens, as real images may have.
        spread = features.std(dim=1, keepdim=True).amax()
        mean = features.mean(dim=(0, 1))
        self.codebook = FrozenCodebook(mean + spread * torch.randn(K, width), LEVELS)
        self.prior = torch.rand(K).square() + 1e-3
        self.codes = self.quantize()

    @torch.inference_mode()
    def features(self) -> Tensor:  # [1, N, D] float32
        states = self.vision(self.pixels, output_hidden_states=True).hidden_states
        return states[-2].float()

    def quantize(self) -> ResidualCodes:
        return craft.quantize(self.features(), self.codebook)

    @torch.inference_mode()
    def prefill(self, codes: ResidualCodes, keep_ratio: float) -> Tensor:  # [1, V]
        kept = craft.prune(
            codes.codes,
            codes.residual_sq_norms,
            self.prior,
            GRID,
            codes.quantized,
            keep_ratio=keep_ratio,
        )
        dtype = self.language.dtype
        words = self.language.get_input_embeddings()(self.question)
        embeds = torch.cat([self.projector(kept.tensors[0].to(dtype)), words], 1)
        return self.language(inputs_embeds=embeds, logits_to_keep=1).logits[:, -1]

    def whole(self, keep_ratio: float) -> Tensor:
        return self.prefill(self.quantize(), keep_ratio)


def flops(pipeline: Pipeline, call: Callable[[], object]) -> int:
    models = pipeline.vision, pipeline.language
    for model in models:
        model.set_attn_implementation("eager")  # the fused CPU kernel is not counted
    with FlopCounterMode(display=False) as counter:
        call()
    for model in models:
        model.set_attn_implementation("sdpa")
    return counter.get_total_flops()


def measure(pipeline: Pipeline, keep_ratio: float, rounds: int) -> list[dict]:
    calls: dict[tuple[str, float], Callable[[], object]] = {}
    for ratio in (1.0, keep_ratio):
        calls["prefill", ratio] = lambda ratio=ratio: pipeline.prefill(pipeline.codes, ratio)
        calls["whole", ratio] = lambda ratio=ratio: pipeline.whole(ratio)
    counted = {key: flops(pipeline, call) for key, call in calls.items()}
    for call in calls.values():
        call()
    memory = {key: peak_extra_bytes(call) for key, call in calls.items()}
    seconds = interleaved({str(key): call for key, call in calls.items()}, rounds)
    rows = []
    for (stage, ratio), count in counted.items():
        p20, p50, p80 = percentiles(seconds[str((stage, ratio))])
        full = percentiles(seconds[str((stage, 1.0))])[1]
        rows.append(
            {
                "stage": stage,
                "keep_ratio": ratio,
                "visual_tokens": craft.keep_count(GRID[0] * GRID[1], ratio),
                "text_tokens": pipeline.question.shape[1],
                "dtype": str(pipeline.language.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "gflop": f"{count / 1e9:.2f}",
                "p20_ms": f"{1e3 * p20:.2f}",
                "p50_ms": f"{1e3 * p50:.2f}",
                "p80_ms": f"{1e3 * p80:.2f}",
                "peak_extra_mib": f"{memory[stage, ratio] / 2**20:.1f}",
                "flops_change_percent": f"{100 * (count / counted[stage, 1.0] - 1):.1f}",
                "latency_change_percent": f"{100 * (p50 / full - 1):.1f}",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep-ratio", type=float, default=0.8)
    parser.add_argument("--text-tokens", type=int, default=60, help="tokens of the question")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    pipeline = Pipeline(args.text_tokens, getattr(torch, args.dtype))
    rows = measure(pipeline, args.keep_ratio, args.rounds)
    results.append("inference_efficiency.csv", rows)
    for row in rows:
        print(*(f"{key}={row[key]}" for key in list(row)[:13]))


if __name__ == "__main__":
    main()
