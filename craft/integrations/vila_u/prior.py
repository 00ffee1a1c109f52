"""Count the token prior of a domain with exactly the arithmetic of inference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.integrations.vila_u.encoding import recorded
from craft.integrations.vila_u.exact_quantizer import ExactQuantizer
from craft.integrations.vila_u.layout import codebook_of, encoder_of, encoder_weights
from craft.prior import TokenPrior
from craft.runtime.tensor_hash import tensor_hash


def count_prior(
    model: nn.Module,
    images: Tensor | Iterable[Tensor],  # [n, 3, S, S], or batches [b, 3, S, S], in [-1, 1]
    *,
    batch: int = 8,
) -> TokenPrior:
    """Count a VILA-U model's first-level code frequencies of ``images``.

    The prior records codebook, encoder and precision, which :func:`patch` compares. Count it with
    the precision used for answering: in bfloat16 a tenth of VILA-U's own first-level codes differ
    from the exact ones.

    Args:
        model: a VILA-U model or its vision tower, patched or not.
        images: output of the model's image processor.
        batch: images per forward pass, if ``images`` is one tensor.

    Raises:
        UnknownLayoutError: the model is not VILA-U's.
        CraftError: no images.
    """
    encoder = encoder_of(model)
    place = next(encoder.siglip_model.vision_model.parameters())
    prior = TokenPrior.empty(
        codebook_for(encoder.quantizer),
        encoder_hash=tensor_hash(encoder_weights(encoder)),
        precision=precision_of(encoder),
    )
    encoder.eval()
    batches = images.split(batch) if isinstance(images, Tensor) else images
    for pixels in batches:
        with torch.inference_mode(), recorded(encoder.quantizer) as encodings:
            encoder.encode_image(pixels.to(place.device, place.dtype))
        prior.update(encodings[0].codes.flatten(1, 2))
    if prior.total == 0:
        raise CraftError("no images were given, so there is nothing to count")
    return prior


def precision_of(encoder: Any) -> str:
    """How codes are computed: "exact", or by VILA-U in the dtype of the weights."""
    if exact_quantizer(encoder.quantizer) is not None:
        return "exact"
    dtype = next(encoder.siglip_model.vision_model.parameters()).dtype
    return f"vila-u {str(dtype).removeprefix('torch.')}"


def exact_quantizer(quantizer: Any) -> ExactQuantizer | None:
    """The exact quantiser that replaces this one, if it was patched to exact codes."""
    owner = getattr(vars(quantizer).get("forward"), "__self__", None)
    return owner if isinstance(owner, ExactQuantizer) else None


def codebook_for(quantizer: Any) -> Codebook:
    """The quantiser's codebook; not copied again if it is patched to exact codes."""
    exact = exact_quantizer(quantizer)
    return codebook_of(quantizer) if exact is None else exact.codebook
