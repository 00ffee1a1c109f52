"""Cost of adapters in a training step of a real-size encoder, and where their time goes.

    python -m benchmarks.adapter_cost

One step (forward, backward, AdamW) of SigLIP-L/16 at 256 pixels with random weights, read at block
23: all of it trains, or a part, or nothing while gradients still pass through. Every mode runs in
its own process, so that peak memory includes everything it needs. For HeBA, the profiler's share of
each kind of operation inside the adapters shows what a fused kernel could save at most: everything
except matrix products.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks import results
from benchmarks.inference_efficiency import VISION
from benchmarks.interleaved import percentiles
from craft.adapters.heba import Adapter
from craft.models.configuration import DiscreteVisionConfig
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.own_process import in_own_process
from craft.runtime.step_cost import step_cost
from craft.settings.heba import PRESETS
from craft.settings.reading import read_settings
from craft.training.trainee import mark_encoder

MODES = ("frozen", "norm_only", "lora", "heba_discrete", "heba", "full")
#: Matrix products, which a fused kernel would have to compute as well.
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::matmul", "aten::linear")


class Step:
    """Forward pass, backward pass and an AdamW step of the trained parameters."""

    def __init__(self, mode: str, batch: int, blocks: int):
        torch.manual_seed(0)
        shape: Any = VISION.to_dict()
        shape.pop("model_type")
        shape["num_hidden_layers"] = blocks + 1  # the output of the last one is unused
        self.tower = DiscreteVisionTower(DiscreteVisionConfig(**shape)).train()
        assignments = ["method=zero_shot"] if mode == "frozen" else [f"encoder={mode}"]
        settings = read_settings(assignments=[*assignments, "lora.rank=16", "lora.alpha=32"])
        mark_encoder(self.tower, settings)
        trained = [p for p in self.tower.parameters() if p.requires_grad]
        self.weights = sum(p.numel() for p in trained)
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5) if trained else None
        side = self.tower.image_size
        # Pixels require a gradient, so that all blocks are always backpropagated through.
        self.pixels = torch.rand(batch, 3, side, side, requires_grad=True)

    def __call__(self) -> None:
        self.tower.features(self.pixels)[0].square().mean().backward()
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def adapter_shares(step: Step) -> dict[str, float]:
    """Adapters' share of the forward pass, and the part of it without matrix products."""
    original = Adapter.forward

    def marked(self: Adapter, *args: Any) -> Any:
        with record_function("adapter"):
            return original(self, *args)

    Adapter.forward = marked  # type: ignore[method-assign]
    try:
        cpu = [ProfilerActivity.CPU]
        with profile(activities=cpu) as found, record_function("forward"), torch.no_grad():
            step.tower.features(step.pixels)
    finally:
        Adapter.forward = original  # type: ignore[method-assign]
    events = list(found.events() or ())

    def inside(event: Any) -> bool:
        while event is not None:
            if event.name == "adapter":
                return True
            event = event.cpu_parent
        return False

    whole = sum(e.cpu_time_total for e in events if e.name == "forward")
    adapters = sum(e.cpu_time_total for e in events if e.name == "adapter")
    kinds: dict[str, float] = {}
    for event in events:
        if event.name != "adapter" and inside(event):
            kinds[event.name] = kinds.get(event.name, 0.0) + event.self_cpu_time_total
    products = sum(time for name, time in kinds.items() if name in PRODUCTS)
    largest = sorted(kinds.items(), key=lambda item: -item[1])[:6]
    print({name: f"{100 * t / adapters:.0f} %" for name, t in largest}, file=sys.stderr)
    return {"share": adapters / whole, "no_product": (adapters - products) / whole}


def run(mode: str, batch: int, steps: int, blocks: int) -> None:
    """Body of a mode's process: print seconds per step and peak memory as one line of JSON."""
    step = Step(mode, batch, blocks)
    measured = step_cost(step, steps)
    shares = adapter_shares(step) if mode in PRESETS else {}
    print(json.dumps(measured | {"weights": step.weights, "shares": shares}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=23, help="encoder blocks with adapters")
    parser.add_argument("--steps", type=int, default=3, help="timed steps per process")
    parser.add_argument("--rounds", type=int, default=2, help="processes per mode")
    parser.add_argument("--mode", choices=MODES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mode:
        run(args.mode, args.batch, args.steps, args.blocks)
        return
    found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for _ in range(args.rounds):
        for mode in MODES:
            options = [f"--{name}={getattr(args, name)}" for name in ("batch", "steps", "blocks")]
            found[mode].append(
                in_own_process("benchmarks.adapter_cost", f"--mode={mode}", *options)
            )
    rows = []
    for mode, runs in found.items():
        p20, p50, p80 = percentiles([s for measured in runs for s in measured["seconds"]])
        shares = runs[0]["shares"]
        rows.append(
            {
                "mode": mode,
                "batch": args.batch,
                "blocks": args.blocks,
                "threads": torch.get_num_threads(),
                "weights": runs[0]["weights"],
                "p20_s": f"{p20:.2f}",
                "p50_s": f"{p50:.2f}",
                "p80_s": f"{p80:.2f}",
                "peak_mib": f"{max(measured['peak_mib'] for measured in runs):.0f}",
                "adapter_share_percent": f"{100 * shares['share']:.1f}" if shares else "",
                "no_product_percent": f"{100 * shares['no_product']:.1f}" if shares else "",
            }
        )
    results.append("adapter_cost.csv", rows)
    for row in rows:
        print(*(f"{key}={row[key]}" for key in list(row)[:11]))


if __name__ == "__main__":
    main()
