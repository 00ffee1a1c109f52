"""Import and run the real VILA-U; ``CRAFT_VILA_U`` names a checkout."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from torch import Tensor

from tests.craft.integrations.vila_u import flash_attention

CHECKOUT = os.environ.get("CRAFT_VILA_U")
_ENCODER = "vila_u.model.multimodal_encoder"
_TRANSFORMER = f"{_ENCODER}.rqvaesigliptransformer"


def whole_model_runs() -> bool:
    """VILA-U's language model needs transformers 4; its encoder also runs on 5."""
    return int(transformers.__version__.split(".")[0]) < 5


@contextmanager
def _hashable_defaults() -> Iterator[None]:
    """Allow VILA-U's unhashable dataclass default, which Python 3.11 refuses."""
    original = dataclasses.dataclass

    def make(cls: Any = None, /, **options: Any) -> Any:
        if cls is not None and cls.__module__.startswith("vila_u."):
            options["unsafe_hash"] = True
        return original(cls, **options)

    dataclasses.dataclass = make  # type: ignore[assignment]
    try:
        yield
    finally:
        dataclasses.dataclass = original


def import_encoder() -> Any:
    """Import the module of RQVAESIGLIPTransformer without the rest of the package."""
    assert CHECKOUT is not None
    if CHECKOUT not in sys.path:
        sys.path.append(CHECKOUT)
    if "vila_u" not in sys.modules:
        for name in ("vila_u", "vila_u.model", _ENCODER):
            package = ModuleType(name)
            package.__path__ = [str(Path(CHECKOUT, *name.split(".")))]
            sys.modules[name] = package
    with _hashable_defaults():
        return importlib.import_module(f"{_TRANSFORMER}.modeling_rqvaesigliptransformer")


def import_vila_u() -> Any:
    """Import the whole package, with stand-ins for what it needs from CUDA builds."""
    assert CHECKOUT is not None
    if CHECKOUT not in sys.path:
        sys.path.append(CHECKOUT)
    if "torchvision" not in sys.modules:  # one crop, for generation data
        for name in ("torchvision", "torchvision.transforms"):
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__spec__ = ModuleSpec(name, None)
        sys.modules["torchvision.transforms"].CenterCrop = object  # type: ignore[attr-defined]
    if "flash_attn" not in sys.modules:
        flash_attention.install()
    with _hashable_defaults():
        return importlib.import_module("vila_u")


def build_tower(classes: Any, config: Any) -> Any:
    """RQVAESIGLIPTransformer of a config, on any installed transformers."""
    return classes.RQVAESIGLIPTransformer(config).eval()


def load_vision_tower(root: Path) -> Any:
    """RQVAESIGLIPTransformer with the checkpoint's weights, in float32.

    Not by ``from_pretrained``, which fails on transformers 5; tensors stored once fill all their
    places.
    """
    from safetensors.torch import load_file

    classes = import_encoder()
    config = classes.RQVAESIGLIPTransformerConfig.from_pretrained(root / "vision_tower")
    tower = build_tower(classes, config)
    weights = load_file(root / "vision_tower" / "model.safetensors")
    unknown = tower.load_state_dict(weights, strict=False).unexpected_keys
    assert not unknown, unknown
    return tower.eval()


def features(encoder: Any, images: Tensor) -> Tensor:  # [n, 16, 16, 1024]
    seen: list[Tensor] = []
    hook = encoder.quantizer.register_forward_hook(lambda m, x, y: seen.append(x[0]))
    encoder.encode_image(images)
    hook.remove()
    return seen[0]


def images(model, count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    fine = torch.nn.functional.interpolate(pixels, 256, mode="bilinear")
    return (fine + 0.1 * torch.randn(fine.shape, generator=generator)).to(model.llm.dtype)


def question(model, *texts: str) -> Tensor:
    """Rows of equal length; ``<image>`` in a text stands for an image."""
    from vila_u.mm_utils import tokenizer_image_token  # pyright: ignore[reportMissingImports]

    rows = [tokenizer_image_token(t, model.tokenizer, return_tensors="pt") for t in texts]
    return torch.stack(rows)


ASK = "USER: <image>\nwhat is shown in this picture ASSISTANT:"


def answer(model, ids: Tensor, pixels: Tensor) -> Tensor:
    mask = torch.ones_like(ids, dtype=torch.bool)
    return model.generate(ids, pixels, mask, max_new_tokens=5, do_sample=False)


def prepared(model, ids: Tensor, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return model.prepare_inputs_labels_for_multimodal(ids, None, None, None, None, pixels)[4]
