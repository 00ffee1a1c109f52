"""Training through VILA-U: features, codes and commitment loss of every image it encodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from craft.integrations.vila_u.encoding import Encoding, recorded
from craft.integrations.vila_u.layout import encoder_of


@contextmanager
def capture(model: nn.Module) -> Iterator[list[Encoding]]:
    """Within this, every call of the quantiser is appended to the list it gives.

    The codebook stays as it is: VILA-U's follows its inputs in training mode, whatever
    ``requires_grad`` says, so the quantiser is put into eval mode before each call.

        with capture(model) as encodings:
            loss = model(input_ids=..., images=..., attention_mask=..., labels=...).loss
            loss = loss + 0.1 * encodings[-1].commitment

    Args:
        model: a VILA-U model or its vision tower.

    Raises:
        UnknownLayoutError: the model is not VILA-U's.
    """
    quantizer = encoder_of(model).quantizer

    def freeze(module: Any, _: Any) -> None:
        module.eval()

    hook = quantizer.register_forward_pre_hook(freeze)
    try:
        with recorded(quantizer) as encodings:
            yield encodings
    finally:
        hook.remove()
