"""One training step of CRAFT with a small and a large surrogate, and of the continuous baselines.

    python -m benchmarks.training_efficiency

Table 4 of the paper at sizes that fit a laptop: SigLIP-L/16 at 256 pixels is trained through a
frozen language model, Qwen2-0.5B or Qwen2-1.5B in shape, weights random. The baselines read plain
features through the larger model: Vision FT trains the encoder, Projector FT the projector, and
LLM-LoRA adapters in the language model. CRAFT's contrastive term is left out: it adds one token to
256 and reads cached text embeddings.

Every variant runs in a process of its own, several times in turn, so that peak memory is that of
all it needs, weights and optimiser included, and the machine's other work strikes all alike. Rows
go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionModel

import craft
from benchmarks import results
from benchmarks.inference_efficiency import LANGUAGE, LEVELS, PIXELS, VISION, K
from benchmarks.interleaved import percentiles
from craft.training.config import LoraConfig
from craft.training.lora import inject_lora
from craft_kernels import FrozenCodebook

LARGE = Qwen2Config(
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    vocab_size=151936,
    tie_word_embeddings=True,
)
#: The language model, and what trains.
VARIANTS = {
    "CRAFT, 0.5B surrogate": (LANGUAGE, "craft"),
    "CRAFT, 1.5B surrogate": (LARGE, "craft"),
    "Vision FT, 1.5B": (LARGE, "vision"),
    "Projector FT, 1.5B": (LARGE, "projector"),
    "LLM-LoRA, 1.5B": (LARGE, "lora"),
}
REFERENCE = "Vision FT, 1.5B"


class Step:
    """Forward, backward and AdamW on what trains."""

    def __init__(self, config: Qwen2Config, trains: str, batch: int, text_tokens: int):
        torch.manual_seed(0)
        width, hidden = VISION.hidden_size, config.hidden_size
        self.vision = SiglipVisionModel(VISION)
        self.language = Qwen2ForCausalLM(config).eval().requires_grad_(False)
        self.projector = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.vision.requires_grad_(trains in ("craft", "vision"))
        self.projector.requires_grad_(trains == "projector")
        if trains == "lora":
            inject_lora(self.language, LoraConfig(), 0, encoder=False)
        self.codebook = FrozenCodebook(torch.randn(K, width), LEVELS) if trains == "craft" else None
        modules = (self.vision, self.projector, self.language)
        trained = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)
        self.pixels = torch.rand(batch, 3, PIXELS, PIXELS)
        self.text = torch.randint(config.vocab_size, (batch, text_tokens))

    def __call__(self) -> None:
        features = self.vision(self.pixels, output_hidden_states=True).hidden_states[-2]
        visual, commitment = features, features.new_zeros(())
        if self.codebook is not None:
            codes = craft.quantize(features, self.codebook)
            visual = codes.quantized
            commitment = craft.commitment(codes.residual_sq_norms, VISION.hidden_size)
        words = self.language.get_input_embeddings()(self.text)
        embeds = torch.cat([self.projector(visual), words], 1)
        hidden = self.language.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        # One answer token: the vocabulary projection runs where an answer is predicted.
        logits = self.language.lm_head(hidden[:, -2])
        (F.cross_entropy(logits, self.text[:, -1]) + commitment).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def run(variant: str, batch: int, text_tokens: int, steps: int) -> None:
    """The body of a variant's process: seconds a step and peak memory, as one line of JSON."""
    config, trains = VARIANTS[variant]
    step = Step(config, trains, batch, text_tokens)
    step()  # makes the optimiser's state and packs the codebook
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_mib": peak_kib / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--text-tokens", type=int, default=60)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each process")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each variant")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        run(args.variant, args.batch, args.text_tokens, args.steps)
        return
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    peak = dict.fromkeys(VARIANTS, 0.0)
    for _ in range(args.rounds):
        for name in VARIANTS:
            command = [sys.executable, "-m", "benchmarks.training_efficiency", "--variant", name]
            for option in ("batch", "text_tokens", "steps"):
                command += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            measured = json.loads(output.splitlines()[-1])
            seconds[name] += measured["seconds"]
            peak[name] = max(peak[name], measured["peak_mib"])
    rows, reference = [], percentiles(seconds[REFERENCE])[1]
    for name in VARIANTS:
        p20, p50, p80 = percentiles(seconds[name])
        rows.append(
            {
                "variant": name,
                "batch": args.batch,
                "text_tokens": args.text_tokens,
                "threads": torch.get_num_threads(),
                "p20_s": f"{p20:.2f}",
                "p50_s": f"{p50:.2f}",
                "p80_s": f"{p80:.2f}",
                "peak_mib": f"{peak[name]:.0f}",
                "time_change_percent": f"{100 * (p50 / reference - 1):.1f}",
                "memory_change_percent": f"{100 * (peak[name] / peak[REFERENCE] - 1):.1f}",
            }
        )
    results.append("training_efficiency.csv", rows)
    for row in rows:
        print(*(f"{key}={row[key]}" for key in list(row)[:10]))


if __name__ == "__main__":
    main()
