"""What to train in the encoder: all of it, LoRA, norms or HeBA adapters, at equal steps.

    python -m benchmarks.encoder_tuning --out runs/encoder_tuning

Runs on the pocket world's handwriting, with the default recipe except for what is compared, and
without blending, so that forgetting is visible. Each mode has a small sweep of learning rates on
the first seed. The chosen rate is the best on the domain's validation images among those that lose
at most ``forget_at_most`` points on the general world, the package's own rule for checkpoints; test
images and the second language model are used only after that.

Every run has its own process, for its peak memory, and leaves its measurements beside its pack, so
that an interrupted benchmark resumes. Results go to benchmarks/results/encoder_tuning.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import RESULTS, machine
from craft.family.family import ModelFamily
from craft.models.encoder_pack import EncoderPack
from craft.pocket.domains import load_domain
from craft.pocket.retention import PocketProbe
from craft.settings.exams import ExamSettings
from craft.settings.reading import read_settings
from craft.workbench.adapt import adapt_pack
from craft.workbench.evaluate import evaluate_pack

DOMAIN, SURROGATE, TRANSFER = "handwriting", "qwen2", "llama"
MEASURED = "measured.json"
#: Mode -> settings, the name of its learning-rate setting, and the rates to try.
MODES: dict[str, tuple[tuple[str, ...], str, tuple[float, ...]]] = {
    "full": (("encoder=full",), "lr", (3e-4, 1e-3)),
    "heba_discrete": (("encoder=heba_discrete",), "lr_new", (1e-3, 3e-3)),
    "lora": (("encoder=lora", "lora.rank=8", "lora.alpha=16"), "lr_new", (1e-3, 3e-3)),
    "norm_only": (("encoder=norm_only",), "lr", (3e-3, 1e-2)),
    "heba": (("encoder=heba",), "lr_new", (1e-3, 3e-3)),
    "heba, SGD": (("encoder=heba", "optimizer=sgd"), "lr_new", (7.5e-3, 2.5e-2)),
}


def adapt_once(mode: str, rate: float, seed: int, steps: int, out: Path) -> None:
    """Body of a run's process."""
    settings, key, _ = MODES[mode]
    config = read_settings(
        assignments=[
            *settings,
            f"{key}={rate}",
            f"seed={seed}",
            f"steps={steps}",
            f"validate_every={steps}",
            "blend=false",
        ]
    )
    models, domain = ModelFamily.load(), load_domain(DOMAIN)
    weights: list[int] = []
    started = time.monotonic()
    adapted, pack = adapt_pack(
        models,
        SURROGATE,
        domain,
        config,
        out,
        PocketProbe(),
        resume=True,
        on_start=lambda table: weights.extend(
            n for part, (_, n) in table.rows.items() if part.startswith("encoder.")
        ),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measured = {
        "mode": mode,
        "rate": rate,
        "seed": seed,
        "steps": steps,
        "trained": sum(weights),
        "pack_bytes": sum(x.stat().st_size for x in out.glob("*.safetensors")),
        "peak_mib": peak,
        "seconds": time.monotonic() - started,
        "code_flip_rate": adapted.code_flip_rate,
        "before": adapted.history[0],
        "after": adapted.history[-1],
        "encoder_hash": pack.encoder_hash,
    }
    (out / MEASURED).write_text(json.dumps(measured, indent=2))


def examine(pack: Path, general_images: int) -> dict[str, Any]:
    """Test scores of both language models, stored beside the pack."""
    out = pack / "scores"
    if not (out / "results.json").is_file():
        models = ModelFamily.load()
        evaluate_pack(
            models.plug(pack),
            models,
            load_domain(DOMAIN),
            out,
            names=[SURROGATE, TRANSFER],
            probe=PocketProbe(),
            settings=ExamSettings(pretrained=False, general_images=general_images),
        )
    scores = json.loads((out / "results.json").read_text())["models"]
    return {name: scores[name]["keep_1.0"] for name in (SURROGATE, TRANSFER)}


def examine_base(directory: Path, general_images: int) -> dict[str, Any]:
    """Test scores of the pretrained encoder."""
    if not (directory / "pack.json").is_file():
        EncoderPack.of(ModelFamily.load().pretrained_tower()).save(directory)
    return examine(directory, general_images)


def measure(mode: str, rate: float, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run once, or read the measurements of an earlier run."""
    out = args.out / f"{mode.replace(', ', '-')}-{rate:g}" / f"seed-{seed}"
    if not (out / MEASURED).is_file():
        command = [sys.executable, "-m", "benchmarks.encoder_tuning", "--out", str(args.out)]
        command += ["--steps", str(args.steps), "--run", mode, str(rate), str(seed), str(out)]
        subprocess.run(command, check=True)
    measured = json.loads((out / MEASURED).read_text())
    if measured["steps"] != args.steps:
        raise ValueError(
            f"{out} holds a run of {measured['steps']} steps, not {args.steps}; use another --out"
        )
    print(f"{mode} {rate:g} seed {seed}: {measured['after']}", flush=True)
    return measured | {"directory": str(out)}


def choose(runs: list[dict[str, Any]], before: dict[str, float]) -> dict[str, Any]:
    """The best run on the domain among those that forget little, or the one that forgets least.

    Args:
        before: scores of the pretrained encoder; literal HeBA starts from another one.
    """
    limit = read_settings().forget_at_most

    def lost(run: dict[str, Any]) -> float:
        return before["general_confidence"] - run["after"]["general_confidence"]

    allowed = [run for run in runs if lost(run) <= limit]
    if not allowed:
        return min(runs, key=lost)
    return max(allowed, key=lambda run: run["after"]["domain_confidence"])


def over_seeds(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of every score, per language model."""
    table: dict[str, Any] = {}
    for name in (SURROGATE, TRANSFER):
        for part in ("all", "seen", "heldout", "general"):
            values = [run["scores"][name][part] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            table.setdefault(name, {})[part] = {"mean": statistics.fmean(values), "std": spread}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/encoder_tuning"))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--general-images", type=int, default=600)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        mode, rate, seed, out = args.run
        adapt_once(mode, float(rate), int(seed), args.steps, Path(out))
        return
    report: dict[str, Any] = {
        "domain": DOMAIN,
        "surrogate": SURROGATE,
        "transfer": TRANSFER,
        "steps": args.steps,
        "seeds": args.seeds,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "zero_shot": examine_base(args.out / "zero_shot", args.general_images),
        "modes": {},
    }
    file = RESULTS / "encoder_tuning.json"
    before: dict[str, float] = {}
    for mode, (settings, key, rates) in MODES.items():
        sweep = [measure(mode, rate, 0, args) for rate in rates]
        before = before or sweep[0]["before"]
        rate = choose(sweep, before)["rate"]
        runs = [measure(mode, rate, seed, args) for seed in range(args.seeds)]
        for run in runs:
            run["scores"] = examine(Path(run["directory"]), args.general_images)
        report["modes"][mode] = {
            "settings": [*settings, f"{key}={rate:g}"],
            "sweep": [{k: run[k] for k in ("rate", "before", "after")} for run in sweep],
            "rate": rate,
            "trained": runs[0]["trained"],
            "pack_bytes": runs[0]["pack_bytes"],
            "peak_mib": max(run["peak_mib"] for run in runs),
            "seconds": statistics.median(run["seconds"] for run in runs),
            "code_flip_rate": statistics.fmean(run["code_flip_rate"] for run in runs),
            "scores": over_seeds(runs),
        }
        file.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
