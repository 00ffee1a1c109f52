"""Peak memory of the commands at several sizes of a data set, to see what grows with it.

    python -m benchmarks.scaling --images 2000 --images 50000

Photos are synthetic JPEGs of 256 pixels: a few pictures, with a different comment in each file, so
that no two files are equal. The models are random: a tower of 256 tokens with 1,024 dimensions,
like VILA-U's but with one block, and a small language model. Each command runs in its own process.
Measured are its resident memory, and the part of it that does not belong to files: the system
decides whether pages of mapped weights and libraries stay. Rows go to benchmarks/results.

``--width 64`` makes a narrow tower that encodes many images in little time. What grows with the
number of images, apart from batches, is the same.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, Qwen2Config, SiglipConfig, SiglipModel

from benchmarks import results
from craft.codebook import Codebook
from craft.family.layout import CODEBOOK, SIGLIP
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.projector import Projector
from craft.pocket.build.vocabulary import build_tokenizer

PIXELS, PATCH, LEVELS, CODES = 256, 16, 4, 16
CLASSES = [f"thing {chr(97 + i) * 2}" for i in range(10)]
PICTURES = 20
QUICK = ("steps=5", "batch=8", "blend=false", "validation_images=64", "checkpoint.every=0")


def photos(folder: Path, count: int) -> Path:
    """Make a folder of ``count`` photos by class; an existing one is used as it is."""
    done = folder / "done"
    if done.is_file():
        return folder / "photos"
    rng = np.random.default_rng(0)
    pictures = [_jpeg(rng) for _ in range(PICTURES)]
    for number in range(count):
        place = folder / "photos" / CLASSES[number % len(CLASSES)].replace(" ", "_")
        place.mkdir(parents=True, exist_ok=True)
        comment = f"photo {number}".encode()
        # A segment after the start marker that decoders ignore.
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        picture = pictures[number % PICTURES]
        (place / f"{number:06d}.jpg").write_bytes(picture[:2] + segment + picture[2:])
    done.touch()
    return folder / "photos"


def _jpeg(rng: np.random.Generator) -> bytes:
    """A blurred random picture, whose file is about as large as a photo's of this size."""
    coarse = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 6, (PIXELS, PIXELS, 3))
    grainy = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grainy).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def family(folder: Path, width: int) -> Path:
    """Write random models in the layout of a family; ``width`` is the tower's."""
    if (folder / CODEBOOK).is_file():
        return folder
    torch.manual_seed(0)
    tokenizer = build_tokenizer([*CLASSES, "object"])
    ids: Any = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    heads = max(1, width // 64)
    block = {"hidden_size": width, "intermediate_size": 64, "num_attention_heads": heads}
    text = {**block, **ids, "num_hidden_layers": 1, "vocab_size": len(tokenizer)}
    vision = {**block, "num_hidden_layers": 2, "image_size": PIXELS, "patch_size": PATCH}
    siglip = SiglipModel(
        SiglipConfig(text_config={**text, "max_position_embeddings": 16}, vision_config=vision)
    )
    siglip.save_pretrained(folder / SIGLIP)
    tokenizer.save_pretrained(folder / SIGLIP)
    codebook = Codebook(torch.randn(CODES, width), LEVELS)
    shape = Qwen2Config(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        **ids,
    )
    model = AutoModelForCausalLM.from_config(shape, trust_remote_code=False)
    language_model = AlignedLanguageModel(
        model, Projector(width, 64), tokenizer, codebook.fingerprint, "qwen2"
    )
    language_model.save_pretrained(folder / "qwen2")
    codebook.save(folder / CODEBOOK)
    return folder


def commands(data: Path, models: Path, out: Path) -> dict[str, list[str]]:
    """Command -> its arguments after ``craft``; later commands use the pack of ``adapt``."""
    pack, ours = str(out / "pack"), ["--models", str(models)]
    quick = [word for setting in QUICK for word in ("--set", setting)]
    return {
        "data check": ["data", "check", str(data), *ours],
        "adapt": ["adapt", "--data", str(data), "--out", pack, *quick, *ours],
        "evaluate": ["evaluate", pack, "--out", str(out / "scores"), *ours],
        "tokenize": ["tokenize", str(data), "--pack", pack, "--out", str(out / "tokens"), *ours],
        "prior": ["prior", pack, "--out", str(out / "prior.safetensors"), *ours],
        "transfer": ["transfer", pack, "--out", str(out / "matrix"), *ours],
    }


class Use(NamedTuple):
    """Peak memory of a command in MiB, in all and without files, and its duration."""

    peak: float
    anonymous: float
    seconds: float
    processor_seconds: float


def measured(words: Sequence[str], log: Path) -> Use:
    """Run a ``craft`` command; its anonymous memory is sampled ten times a second."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CRAFT_CACHE": str(log.parent / "cache")}
    started = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "craft.cli", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        anonymous = 0
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            anonymous = max(anonymous, _anonymous(process.pid))
            time.sleep(0.1)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"craft {' '.join(words)} failed; see {log}")
    per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return Use(
        usage.ru_maxrss / per_mib,
        anonymous / 2**10,
        time.perf_counter() - started,
        usage.ru_utime + usage.ru_stime,
    )


def _anonymous(process: int) -> int:
    """KiB of a process's resident memory that is no file's, where Linux tells."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, action="append", required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--width", type=int, default=1024, help="of the tower")
    parser.add_argument("--only", action="append", help="a command to run; adapt's pack must exist")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    models = family(folder / f"models-{options.width}", options.width)
    rows = []
    for count in options.images:
        data = photos(folder / str(count), count)
        out = folder / str(count) / f"run-{int(time.time())}"
        out.mkdir(parents=True)
        for name, words in commands(data, models, out).items():
            if options.only and name not in options.only:
                continue
            use = measured(words, out / f"{name.replace(' ', '-')}.log")
            rows.append(
                {
                    "command": name,
                    "images": count,
                    "width": options.width,
                    "peak_mib": f"{use.peak:.0f}",
                    "anonymous_mib": f"{use.anonymous:.0f}",
                    "seconds": f"{use.seconds:.0f}",
                    "processor_seconds": f"{use.processor_seconds:.0f}",
                }
            )
            print(
                f"{name:12} {count:7} images {use.peak:8.0f} MiB, {use.anonymous:8.0f} no file's, "
                f"{use.seconds:7.0f} s, {use.processor_seconds:7.0f} s of a processor",
                flush=True,
            )
    results.append("scaling.csv", rows)


if __name__ == "__main__":
    main()
