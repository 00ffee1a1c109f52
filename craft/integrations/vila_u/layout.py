"""Find the parts of a loaded VILA-U model by name, without importing vila_u."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from craft.codebook import Codebook
from craft.errors import CraftError

# VILAULlamaModel -> RQVAESIGLIPTransformerVisionTower -> RQVAESIGLIPTransformer -> RQVAESiglipModel
_WAY_TO_ENCODER = ("vision_tower", "vision_tower", "rqvaesiglip")


class UnknownLayoutError(CraftError):
    """The model's layout is not that of VILA-U's code of 2024 and its two released checkpoints."""


def encoder_of(model: nn.Module) -> Any:
    """The ``rqvaesiglip`` module: SigLIP and quantiser.

    Args:
        model: a VILA-U model, its vision tower, or the module itself.

    Raises:
        UnknownLayoutError: there is none, or its quantiser is not VILA-U's.
    """
    encoder: Any = model
    for name in _WAY_TO_ENCODER:
        encoder = getattr(encoder, name, encoder)
    quantizer = getattr(encoder, "quantizer", None)
    if quantizer is None or not hasattr(encoder, "siglip_model"):
        raise UnknownLayoutError(
            f"{type(model).__name__} holds no VILA-U encoder: expected "
            f"{'.'.join(_WAY_TO_ENCODER)} with siglip_model and quantizer; pass what "
            "vila_u.load(path) returns"
        )
    missing = [n for n in ("codebooks", "latent_shape", "code_shape") if not hasattr(quantizer, n)]
    if missing:
        raise UnknownLayoutError(f"{type(quantizer).__name__} has no {', '.join(missing)}")
    latent, code = tuple(quantizer.latent_shape), tuple(quantizer.code_shape)
    if latent[:2] != code[:2]:
        raise UnknownLayoutError(
            f"latent_shape {latent} and code_shape {code} fold several patches into a code; only "
            "one code per patch is supported, as in both released checkpoints"
        )
    return encoder


def codewords(quantizer: Any) -> list[Tensor]:
    """Views [K, D] of every level's codewords, without the last row of VILA-U's tables, padding."""
    tables = [table.weight.detach()[:-1] for table in quantizer.codebooks]
    if len({table.shape for table in tables}) != 1:
        shapes = [tuple(table.shape) for table in tables]
        raise UnknownLayoutError(f"levels have codebooks of different shapes: {shapes}")
    return tables


def codebook_of(quantizer: Any) -> Codebook:
    """A float32 copy of the codebook; shared by the levels if all have the same codewords."""
    first, *others = codewords(quantizer)
    if all(table.data_ptr() == first.data_ptr() or torch.equal(table, first) for table in others):
        return Codebook(first, levels=len(others) + 1)
    return Codebook(torch.stack([first, *others]))


def encoder_weights(encoder: Any) -> dict[str, Tensor]:
    """The weights that codes depend on, under the names of a DiscreteVisionTower.

    VILA-U quantises the output of the penultimate block, so the last block is left out.
    """
    vision = encoder.siglip_model.vision_model
    last = len(vision.encoder.layers) - 1
    weights: dict[str, Tensor] = {}
    for name, tensor in vision.state_dict().items():
        if name.startswith("embeddings."):
            weights[name] = tensor
        elif name.startswith("encoder.layers.") and not name.startswith(f"encoder.layers.{last}."):
            weights[name.replace("encoder.layers.", "blocks.", 1)] = tensor
    return weights
