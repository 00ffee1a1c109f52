"""A pocket world small enough for tests: random images, random models, the real classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    Qwen2Config,
    SiglipConfig,
    SiglipModel,
)
from transformers.utils.logging import disable_progress_bar

from craft.cli import process
from craft.codebook import Codebook
from craft.data.images.image_set import ImageSet
from craft.data.images.store import TensorStore
from craft.family.family import ModelFamily
from craft.family.layout import CODEBOOK, PRIOR, SIGLIP
from craft.models.aligned_language_model import AlignedLanguageModel, write_card
from craft.models.projector import Projector
from craft.models.text_batch import TextBatch
from craft.pocket import domains, retention
from craft.pocket.build.vocabulary import build_tokenizer
from craft.pocket.world import GENERAL_AREAS, SUBJECTS
from craft.prior import TokenPrior
from tests.craft.cli.commands import QUICK, craft_command, done

WIDTH, LEVELS, CODES, SIZE = 16, 2, 24, 24
NAMES = [f"thing {chr(97 + i) * 2}" for i in range(10)]


def image_set(area: str, splits: dict[str, int]) -> ImageSet:
    """For each class so many images a split; images of a class share a pattern."""
    generator = torch.Generator().manual_seed(len(area))
    patterns = torch.rand(len(NAMES), 3, SIZE, SIZE, generator=generator)
    rows = [
        (c, split, k) for c in range(len(NAMES)) for split, n in splits.items() for k in range(n)
    ]
    noise = torch.rand(len(rows), 3, SIZE, SIZE, generator=generator)
    images = (patterns[[c for c, *_ in rows]] * 0.7 + noise * 0.3) * 255
    return ImageSet(
        area=area,
        subject=SUBJECTS[area],
        images=TensorStore(images.to(torch.uint8)),
        ids=[f"{area}-{c}-{split}-{k}" for c, split, k in rows],
        labels=[NAMES[c] for c, *_ in rows],
        groups=["group" for _ in rows],
        styles=["style" for _ in rows],
        splits=[split for _, split, _ in rows],
    )


def picture(number: int, size: tuple[int, int] = (30, 20)) -> Image.Image:
    """A picture of its own for every number: a coloured disc, three colours of which differ."""
    image = Image.new("RGB", size, ((number * 67) % 256, (number * 29) % 256, 90))
    box = (2 + number % 5, 2, size[0] - 4, size[1] - 3)
    ImageDraw.Draw(image).ellipse(box, fill=(255 - number % 200, (number * 13) % 256, number % 256))
    return image


@pytest.fixture(scope="session")
def draw() -> Callable[..., Path]:
    """Draws picture ``number`` into a file, whose folder is made if need be."""

    def save(path: Path, number: int = 0, **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path, **options)
        return path

    return save


@pytest.fixture
def class_folder(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """Eight classes of ten pictures, one folder each."""
    root = tmp_path / "things"
    for c, name in enumerate(NAMES[:8]):
        for i in range(10):
            draw(root / name.replace(" ", "_") / f"{i}.png", 10 * c + i)
    return root


@pytest.fixture(scope="module")
def small_world() -> Iterator[None]:
    """The domains' names with at most a hundred random images behind each."""
    splits = {"digits": {"train": 4, "val": 1, "test": 3}}
    per_class = {"train": 3, "test": 2}
    general = [image_set(area, {"general": 2}) for area in GENERAL_AREAS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            domains, "load_area", lambda name: image_set(name, splits.get(name, per_class))
        )
        patch.setattr(retention, "general_world", lambda: general)
        yield


@pytest.fixture(scope="module")
def guessing() -> Iterator[None]:
    """Language models that answer with a letter their visual tokens decide: random models hardly
    ever write one, and accuracies that are all zero would show nothing."""

    def answer(
        language_model: AlignedLanguageModel, visual: Tensor, text: TextBatch, max_new_tokens: int
    ) -> list[str]:
        salt = len(language_model.name)
        return ["abcd"[(int((v > 0).sum()) + salt) % 4] for v in visual]  # sums would be rounded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AlignedLanguageModel, "answer", answer)
        yield


@pytest.fixture(scope="session")
def tiny_models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random models of all the shipped kinds, in the shipped layout."""
    disable_progress_bar()  # transformers' bars would stand among what commands print
    directory = tmp_path_factory.mktemp("models")
    tokenizer = build_tokenizer([*NAMES, "group"])
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    block = {
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        siglip = SiglipModel(
            SiglipConfig(
                text_config={
                    **block,
                    **special,
                    "vocab_size": len(tokenizer),
                    "max_position_embeddings": 16,
                },
                vision_config={**block, "image_size": SIZE, "patch_size": 8},
            )
        )
        siglip.save_pretrained(directory / SIGLIP)
        tokenizer.save_pretrained(directory / SIGLIP)
        codebook = Codebook(torch.randn(CODES, WIDTH), LEVELS)
        codebook.save(directory / CODEBOOK)
        # The wide spread makes answers differ from question to question.
        shape = {**block, **special, "vocab_size": len(tokenizer), "initializer_range": 0.8}
        for name, config in (
            ("qwen2", Qwen2Config(num_key_value_heads=1, **shape)),
            ("llama", LlamaConfig(num_key_value_heads=2, **shape)),
        ):
            model = AutoModelForCausalLM.from_config(config)
            projector = Projector(WIDTH, WIDTH)
            language_model = AlignedLanguageModel(
                model, projector, tokenizer, codebook.fingerprint, name
            )
            language_model.save_pretrained(directory / name)
    manifest = {"files": {}, "language_models": ["qwen2", "llama", "phi"], "retention": "pocket"}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


@pytest.fixture(scope="session")
def tiny_models(tiny_models_dir: Path) -> ModelFamily:
    return ModelFamily(tiny_models_dir)


@pytest.fixture(scope="session")
def three_models(tiny_models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFamily:
    """With a third language model, the second one under another name."""
    directory = tmp_path_factory.mktemp("three") / "models"
    shutil.copytree(tiny_models_dir, directory)
    shutil.copytree(directory / "llama", directory / "phi")
    card = json.loads((directory / "phi" / "craft.json").read_text())
    write_card(directory / "phi", card | {"name": "phi"})
    models = ModelFamily(directory)
    general = models.pretrained_tower().encode(torch.rand(4, 3, SIZE, SIZE)).codes
    prior = TokenPrior.count([general], models.codebook, encoder_hash="general")
    prior.save(directory / PRIOR)
    return models


@pytest.fixture
def quiet_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in this process and change nothing about it."""
    monkeypatch.delenv("CRAFT_DEBUG", raising=False)
    monkeypatch.setattr(process, "prepare", lambda: None)


@pytest.fixture(scope="module")
def pack(small_world: None, tiny_models: ModelFamily, tmp_path_factory) -> Path:
    """A pack as `craft adapt` writes it."""
    out = tmp_path_factory.mktemp("packs") / "flags"
    options = ["--out", out, "--domain", "flags", "--models", tiny_models.directory]
    done(craft_command("adapt", *options, *QUICK))
    return out
