"""CRAFT's loss: λ_con·L_con + λ_commit·L_commit + L_SAL, through the straight-through estimator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SiglipModel


def contrastive_loss(
    images: Tensor,  # [b, D]
    texts: Tensor,  # [B, D]
    keys: Tensor,  # [B] or [B, n]: class of each pair, or image and statement
    scale: Tensor,  # [] or [1]
    bias: Tensor,  # []
    part: slice = slice(None),
) -> Tensor:  # []
    """Sigmoid contrastive loss: sum over negatives, mean over images (methods C6).

    Off-diagonal pairs that share any key count neither as positive nor as negative (C7): two images
    of a cat do not repel each other's text.

    Args:
        part: which of the B texts belong to the images, if these are only a part of the step. Each
            image's term depends on that image alone, so the parts' terms add up to the step's.
    """
    logits = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T * scale + bias
    keys = keys.view(len(keys), -1)
    same = (keys[part, None] == keys[None]).any(-1)
    positive = F.softplus(-logits).diagonal(part.start or 0)
    negative = F.softplus(logits).masked_fill(same, 0).sum(1)
    return (positive + negative).mean()


class ContrastiveHead(nn.Module):
    """What the contrastive loss trains besides the encoder: a class token and the temperature.

    The token attends to the patches but not vice versa (methods A6) and is dropped when training
    ends, so the shipped encoder has exactly the pretrained architecture.

    Args:
        siglip: supplies width, pretrained temperature and bias.
        literal: use the paper's temperature log 10 without bias instead of SigLIP's own.
        generator: draws the token from N(0, 0.02²).

    A tower with its own class token takes over ``token``, see :meth:`give_token`.
    """

    def __init__(self, siglip: SiglipModel, literal: bool, generator: torch.Generator):
        super().__init__()
        config: Any = siglip.config
        width = config.vision_config.hidden_size
        self.token: Tensor | None = nn.Parameter(torch.randn(width, generator=generator) * 0.02)
        start = math.log(10) if literal else float(siglip.logit_scale)
        self.log_scale = nn.Parameter(torch.tensor([start]))  # [1]: a [] cannot be sharded
        self.register_buffer("bias", torch.tensor(0.0 if literal else float(siglip.logit_bias)))

    def give_token(self) -> Tensor:  # [D]
        """Return the class token and remove it from this head."""
        token = self.token
        if token is None:
            raise RuntimeError("the class token was already given away")
        self.token = None
        return token.detach()

    def forward(
        self, images: Tensor, texts: Tensor, keys: Tensor, part: slice = slice(None)
    ) -> Tensor:
        scale = self.log_scale.exp().clamp(max=100)
        return contrastive_loss(images, texts, keys, scale, self.get_buffer("bias"), part)


def gradient_norms(
    terms: dict[str, Tensor],
    parameters: list[nn.Parameter],
    average: Callable[[Tensor], Tensor] = lambda x: x,
) -> dict[str, float]:
    """Norm of each term's gradient with respect to ``parameters``.

    They show early whether one term drowns out the others.

    Args:
        average: over processes.
    """
    norms = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        total = sum(float(average(g).square().sum()) for g in gradients if g is not None)
        norms[name] = math.sqrt(total)
    return norms
