"""Every setting of an adaptation, checked, with its default and where that comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CraftConfig(BaseModel):
    """Settings of CRAFT (methods 4.A-4.C, 4.G; the paper's values where it gives them)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=500, ge=0, description="optimiser steps")
    batch: int = Field(default=24, ge=2, description="images a step")
    lr: float = Field(default=3e-4, gt=0, description="peak learning rate of the encoder")
    lr_new: float = Field(
        default=1e-3, gt=0, description="peak learning rate of class token, temperature"
    )
    warmup: float = Field(default=0.03, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    lambda_commit: float = Field(default=0.2, ge=0, description="weight of the commitment loss")
    commit_levels: Literal["cumulative", "final"] = Field(
        default="cumulative",
        description="mean over the cumulative levels, or the last one only (eq. 3)",
    )
    lambda_con: float = Field(default=0.1, ge=0, description="weight of the contrastive loss")
    con_scale: Literal["pretrained", "literal"] = Field(
        default="pretrained",
        description="SigLIP's own temperature and bias, or the paper's: log 10 and no bias",
    )
    naming: float = Field(
        default=0.5, ge=0, le=1, description="share of open questions; the rest asks for a letter"
    )
    validate_every: int = Field(default=50, ge=1, description="steps between validations")
    validation_images: int = Field(default=300, ge=1, description="at most so many of each kind")
    blend: bool = Field(
        default=True,
        description="return the best mixture of the adapted with the pretrained weights instead "
        "of the adapted ones (not in the paper; it forgets less)",
    )
    forget_at_most: float = Field(
        default=4.0,
        ge=0,
        description="points that such a mixture may lose on general validation images",
    )
    seed: int = Field(default=0, description="data order, augmentation, class token")
