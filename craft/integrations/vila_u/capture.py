"""Train through VILA-U: capture features, codes and commitment loss of every encoded image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from craft.integrations.vila_u.encoding import Encoding, recorded
from craft.integrations.vila_u.layout import encoder_of


@contextmanager
def capture(model: nn.Module) -> Iterator[list[Encoding]]:
    """Append every call of the quantiser inside a block to the list that the block gets.

    The codebook does not change: in training mode VILA-U's would be updated from its inputs,
    whatever ``requires_grad`` says, so the quantiser is put into eval mode before each call.

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
