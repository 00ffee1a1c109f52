"""A training step and an answer at the size of real models, through the public classes.

    python -m benchmarks.real_size

SigLIP-L/16 at 256 pixels, VILA-U's codebook shape (4 levels of 16,384 x 1,024, shared) and the
shape of Qwen2-0.5B, in float32 with random weights: the figures are only of time and memory. Prints
one line per part; the training step is one of `craft adapt`, with validation before and after.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import Qwen2ForCausalLM, SiglipConfig, SiglipModel

from benchmarks.inference_efficiency import LANGUAGE, LEVELS, PIXELS, VISION, K
from craft.codebook import Codebook
from craft.data.domains.class_domain import ClassDomain
from craft.data.images.image_set import ImageSet
from craft.data.images.store import TensorStore
from craft.models import AlignedLanguageModel, DiscreteLVLM, DiscreteVisionTower, Projector
from craft.pocket.build.vocabulary import build_tokenizer
from craft.prior import TokenPrior
from craft.runtime.tensor_hash import tensor_hash
from craft.settings.presets import preset
from craft.training.adapt import adapt

CLASSES = [f"thing {chr(97 + i) * 2}" for i in range(8)]
# The text tower only embeds the contrastive texts, once, so a small one will do.
TEXT = {
    "hidden_size": VISION.hidden_size,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 16,
}


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the duration of a block and the process's peak memory so far."""
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:44} {seconds:8.1f} s   peak {peak:5.2f} GiB", flush=True)


def random_domain(images: int) -> ClassDomain:
    """A domain of noise images with six seen and two held-out classes."""

    def part(classes: list[str], count: int) -> ImageSet:
        labels = [classes[i % len(classes)] for i in range(count)]
        pixels = torch.randint(0, 256, (count, 3, PIXELS, PIXELS), dtype=torch.uint8)
        ids = [f"{len(classes)}-{i}" for i in range(count)]
        same = ["noise"] * count
        return ImageSet("noise", "object", TensorStore(pixels), ids, labels, same, same, same)

    seen = CLASSES[:6]
    parts = part(seen, images), part(seen[:1], 1), part(CLASSES, 2)
    return ClassDomain("noise", "object", CLASSES, CLASSES[6:], *parts)


def build() -> tuple[SiglipModel, DiscreteVisionTower, AlignedLanguageModel]:
    tokenizer = build_tokenizer([*CLASSES, "group"])
    config = SiglipConfig(
        vision_config=VISION.to_dict(),
        text_config={**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 16},
    )
    siglip = SiglipModel(config).eval().requires_grad_(False)
    codebook = Codebook(torch.randn(K, VISION.hidden_size), LEVELS)
    tower = DiscreteVisionTower.from_siglip(siglip.vision_model, codebook)
    language = Qwen2ForCausalLM(LANGUAGE)
    projector = Projector(VISION.hidden_size, LANGUAGE.hidden_size)
    language_model = AlignedLanguageModel(
        language, projector, tokenizer, codebook.fingerprint, "Qwen2-0.5B in shape"
    )
    return siglip, tower, language_model.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--new-tokens", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    with timed("models made"):
        siglip, tower, language_model = build()
    with timed("one image encoded and quantised"):
        images = torch.rand(1, 3, PIXELS, PIXELS)
        codes = tower.encode(images).codes
    prior = TokenPrior.count([codes], tower.codebook, encoder_hash=tensor_hash(tower.state_dict()))
    model = DiscreteLVLM.from_parts(tower, language_model)
    asked = language_model.prompt_batch(["what thing"])
    for keep_ratio in (1.0, 0.8):
        with timed(f"{options.new_tokens} tokens answered, {keep_ratio:.0%} of the image kept"):
            model.generate(
                images * 2 - 1,
                asked.input_ids,
                asked.attention_mask,
                keep_ratio=keep_ratio,
                prior=prior,
                min_new_tokens=options.new_tokens,
                max_new_tokens=options.new_tokens,
                do_sample=False,
            )
    settings = {"steps": 1, "batch": options.batch, "blend": False, "validation_images": 1}
    config = preset("craft", **settings, checkpoint={"every": 0})
    tower.requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder, timed(f"a training step of {options.batch}"):
        adapt(tower, language_model, siglip, random_domain(4), config, Path(folder))


if __name__ == "__main__":
    main()
