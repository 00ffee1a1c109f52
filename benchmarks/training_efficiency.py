"""One training step of CRAFT with a small and a large surrogate, and of the continuous baselines.

    python -m benchmarks.training_efficiency

Table 4 of the paper at sizes that fit a laptop: SigLIP-L/16 at 256 pixels is trained through a
frozen language model with the shape of Qwen2-0.5B or Qwen2-1.5B and random weights. The baselines
read plain features through the larger model: Vision FT trains the encoder, Projector FT the
projector, and LLM-LoRA adapters in the language model. CRAFT's contrastive term is left out,
because it only adds one token to 256 and reads cached text embeddings.

Every variant runs in its own process, several times in turn, so that peak memory includes weights
and optimiser, and other load on the machine affects all variants alike. Rows go to
benchmarks/results.
"""

from __future__ import annotations

import argparse
import json

import torch
from transformers import Qwen2Config

from benchmarks import results
from benchmarks.inference_efficiency import LANGUAGE, LEVELS, VISION, K
from benchmarks.interleaved import percentiles
from craft.pocket.reproduction.training_cost import Shape, TrainingStep
from craft.runtime.own_process import in_own_process
from craft.runtime.step_cost import step_cost

LARGE = Qwen2Config(
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    vocab_size=151936,
    tie_word_embeddings=True,
)
#: Variant -> the language model and what trains.
VARIANTS = {
    "CRAFT, 0.5B surrogate": (LANGUAGE, "craft"),
    "CRAFT, 1.5B surrogate": (LARGE, "craft"),
    "Vision FT, 1.5B": (LARGE, "vision"),
    "Projector FT, 1.5B": (LARGE, "projector"),
    "LLM-LoRA, 1.5B": (LARGE, "lora"),
}
REFERENCE = "Vision FT, 1.5B"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--text-tokens", type=int, default=60)
    parser.add_argument("--steps", type=int, default=3, help="timed steps per process")
    parser.add_argument("--rounds", type=int, default=2, help="processes per variant")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        config, trains = VARIANTS[args.variant]
        step = TrainingStep(Shape(VISION, config, K, LEVELS), trains, args.batch, args.text_tokens)
        print(json.dumps(step_cost(step, args.steps)))
        return
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    peak = dict.fromkeys(VARIANTS, 0.0)
    for _ in range(args.rounds):
        for name in VARIANTS:
            options = [
                f"--{option.replace('_', '-')}={getattr(args, option)}"
                for option in ("batch", "text_tokens", "steps")
            ]
            measured = in_own_process(
                "benchmarks.training_efficiency", f"--variant={name}", *options
            )
            seconds[name] += measured["seconds"]
            peak[name] = max(peak[name], measured["peak_mib"])
            print(name, measured, flush=True)
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


if __name__ == "__main__":
    main()
