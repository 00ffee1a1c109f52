"""Low-rank adapters from peft, in the encoder's blocks or in the language model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn

from craft.errors import MissingPackageError
from craft.runtime.random_numbers import own_random_numbers
from craft.settings.training import LoraConfig

#: Every linear layer of a decoder block, but not the output head (methods M).
_LANGUAGE_TARGETS = [f"{n}_proj" for n in ("q", "k", "v", "o", "gate", "up", "down")]
_ENCODER_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def inject_lora(model: nn.Module, config: LoraConfig, seed: int, *, encoder: bool) -> None:
    """Install adapters in ``model`` in place; only they train.

    Raises:
        ImportError: peft is not installed.
    """
    peft = _peft()
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=_ENCODER_TARGETS if encoder else _LANGUAGE_TARGETS,
    )
    model.requires_grad_(False)
    with own_random_numbers(next(model.parameters()).device, seed):
        peft.inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


@contextmanager
def train_dropout(*models: nn.Module) -> Generator[None]:
    """Enable the adapters' dropout inside the block, whatever mode the models are in."""
    dropouts = [
        module
        for model in models
        for name, module in model.named_modules()
        if name.endswith("lora_dropout")
    ]
    for module in dropouts:
        module.train()
    try:
        yield
    finally:
        for module in dropouts:
            module.eval()


def merge_lora(model: nn.Module) -> None:
    """Merge the adapters into the weights they adapt, in place."""
    layer_type = _peft().tuners.lora.LoraLayer
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, layer_type):
                layer: Any = child
                layer.merge()
                setattr(parent, name, layer.get_base_layer())


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError(
            "LoRA needs peft, which is not installed; pip install 'peft>=0.21'"
        ) from error
    return peft
