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
    """Sigmoid contrast of images with texts: sum over negatives, mean over images (methods C6).

    Pairs that share any key and are not the pair itself count neither as positive nor as negative
    (C7): two images of a cat do not push each other's text away.

    Args:
        part: which of the B texts belong to the images, if they are only a part of the step. Each
            image's term depends on that image alone, so the parts' terms add up to the whole's.
    """
    logits = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T * scale + bias
    keys = keys.view(len(keys), -1)
    same = (keys[part, None] == keys[None]).any(-1)
    positive = F.softplus(-logits).diagonal(part.start or 0)
    negative = F.softplus(logits).masked_fill(same, 0).sum(1)
    return (positive + negative).mean()


class ContrastiveHead(nn.Module):
    """What the contrastive loss trains beside the encoder: a class token and the temperature.

    The token reads the patches one way (methods A6) and is dropped when training ends, so the
    shipped encoder is exactly the pretrained architecture.

    Args:
        siglip: supplies width, pretrained temperature and bias.
        literal: the paper's temperature log 10 without bias instead of SigLIP's own.
        generator: draws the token, N(0, 0.02²).

    A tower with a class token of its own takes over ``token``, see :meth:`give_token`.
    """

    def __init__(self, siglip: SiglipModel, literal: bool, generator: torch.Generator):
        super().__init__()
        config: Any = siglip.config
        width = config.vision_config.hidden_size
        self.token: Tensor | None = nn.Parameter(torch.randn(width, generator=generator) * 0.02)
        start = math.log(10) if literal else float(siglip.logit_scale)
        self.log_scale = nn.Parameter(torch.tensor([start]))  # [1]: no process can share a []
        self.register_buffer("bias", torch.tensor(0.0 if literal else float(siglip.logit_bias)))

    def give_token(self) -> Tensor:  # [D]
        """The class token, which is this head's no longer."""
        token = self.token
        if token is None:
            raise RuntimeError("the class token was given away before")
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
    """Norm of each term's gradient on the encoder: shows early whether one drowns the others.

    Args:
        average: over processes.
    """
    norms = {}
    for name, term in terms.items():
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        total = sum(float(average(g).square().sum()) for g in gradients if g is not None)
        norms[name] = math.sqrt(total)
    return norms
