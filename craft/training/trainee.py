"""The trained weights as one module, which is prepared for several processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from craft.adapters.installation import is_heba
from craft.adapters.lora import inject_lora
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.random_numbers import own_random_numbers
from craft.settings.training import CraftConfig
from craft.training.objective import ContrastiveHead


class Trainee(nn.Module):
    """The encoder, its contrastive head, and any other weights that a baseline trains.

    Only this goes through accelerate's ``prepare``; language models, text tower and codebook are
    frozen replicas outside it. ``extra`` weights, of a projector or of adapters in a language
    model, are used elsewhere and listed here so that their gradients are averaged too.

    Args:
        surrogate: its weights that require gradients are the extra ones.
    """

    def __init__(
        self,
        tower: DiscreteVisionTower,
        surrogate: AlignedLanguageModel,
        head: ContrastiveHead | None,
    ):
        super().__init__()
        self.tower = tower
        self.head = head
        extra = {n: p for n, p in surrogate.named_parameters() if p.requires_grad}
        self._extra_names = tuple(extra)
        self.extra = nn.ParameterList(extra.values())

    def forward(
        self,
        pixels: Tensor,  # [B, 3, S, S] in [-1, 1]
    ) -> tuple[Tensor, Tensor | None]:  # [B, N, D], [B, D]
        """Features before quantisation and, with a head, the class token's output."""
        token = None if self.head is None else self.head.token
        z, output = self.tower.features(pixels, token)
        return z, output if self.head is not None else None

    def trained(self) -> dict[str, nn.Parameter]:
        """Every weight that trains, by its name for users; the encoder's first."""
        found = {f"encoder.{name}": p for name, p in self.tower.named_parameters()}
        if self.head is not None:
            found |= {f"contrastive.{name}": p for name, p in self.head.named_parameters()}
        found |= dict(zip(self._extra_names, self.extra, strict=True))
        return {name: p for name, p in found.items() if p.requires_grad}

    def groups(self, config: CraftConfig) -> list[dict[str, Any]]:
        """The optimiser's groups: pretrained weights, and new ones with their own rate."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.trained().items():
            added = name.startswith("contrastive.") or "lora_" in name or "class_token" in name
            # Fused optimiser updates cannot mix whole and sharded weights.
            kind = (added or is_heba(name), isinstance(parameter, DTensor))
            groups.setdefault(kind, []).append(parameter)
        return [
            {"params": weights, "lr": config.lr_new if new else config.lr}
            for (new, _), weights in groups.items()
        ]


@dataclass(frozen=True)
class TrainableTable:
    """Numbers of tensors and weights that train, by part; the rest is frozen."""

    rows: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, trained: dict[str, nn.Parameter]) -> TrainableTable:
        """Count by part, the first two components of a weight's name."""
        rows: dict[str, tuple[int, int]] = {}
        for name, parameter in trained.items():
            part = ".".join(name.split(".")[:2])
            tensors, weights = rows.get(part, (0, 0))
            rows[part] = tensors + 1, weights + parameter.numel()
        return cls(rows)

    def __str__(self) -> str:
        if not self.rows:
            return "nothing trains"
        return "trains: " + ", ".join(
            f"{part} ({weights:,} weights in {tensors} tensors)"
            for part, (tensors, weights) in self.rows.items()
        )


def mark_encoder(tower: DiscreteVisionTower, config: CraftConfig) -> None:
    """Mark which of the encoder's weights train, by ``config.encoder``, and install adapters if
    the settings ask for them."""
    tower.requires_grad_(config.encoder == "full")
    if config.encoder == "norm_only":
        for module in tower.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)
    if config.encoder == "lora":
        inject_lora(tower, config.lora, config.seed, encoder=True)
    if config.adapters is not None:
        if tower.class_token is not None:
            tower.class_token.requires_grad_(True)
        with own_random_numbers(tower.device, config.seed):
            tower.adopt_adapters(config.adapters)


def checkpoint_activations(tower: DiscreteVisionTower, language_model: PreTrainedModel) -> None:
    """Recompute activations in the backward pass, also those of the frozen language model.

    Its layers do so only in training mode; switching only the layers leaves their submodules, such
    as dropout, in eval mode.
    """
    how = {"use_reentrant": False}
    tower.activation_checkpointing_enable(how)
    language_model.activation_checkpointing_enable(how)
    language_model.disable_input_require_grads()  # only needed by the reentrant kind
    for module in language_model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


def keep_activations(tower: DiscreteVisionTower, language_model: PreTrainedModel) -> None:
    """Undo :func:`checkpoint_activations`."""
    tower.activation_checkpointing_disable()
    language_model.activation_checkpointing_disable()
    language_model.eval()
