"""Every setting of an adaptation, with its type, range, default and description.

The descriptions here are the only ones: `craft settings` and the table in docs/training.md are
generated from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from craft.codebook import CodebookSubset, SubsetKind
from craft.errors import CraftError
from craft.settings.choices import (
    GREATEST_SEED,
    AlignStageName,
    AttentionName,
    EncoderMode,
    MethodName,
    Precision,
)
from craft.settings.heba import PRESETS as HEBA_PRESETS
from craft.settings.heba import HebaConfig, HebaSettings

#: The stages of `craft align`, by their current names and their former names as methods.
_STAGES = (*get_args(AlignStageName), "align_projector", "align")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CheckpointConfig(_Section):
    """What an interrupted run can resume from."""

    every: int = Field(default=100, ge=0, description="steps between checkpoints; 0 writes none")
    keep: int = Field(default=2, ge=1, description="number of newest checkpoints to keep")


class HardwareConfig(_Section):
    """How the machine is used; this should affect results only by rounding."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="precision of the encoder's and language model's products; auto is fp32 on a "
        "CPU and bf16 on a GPU. Trained weights and the quantiser are always float32",
    )
    accumulate: int = Field(
        default=1, ge=1, description="number of parts a process splits its batch into"
    )
    grad_checkpoint: bool = Field(
        default=False,
        description="recompute activations in the backward pass: less memory, but slower",
    )
    shard: bool = Field(
        default=False,
        description="shard the blocks of encoder and language model over processes (FSDP2), for "
        "language models that do not fit; an accelerate config with fsdp_version 2 does the same",
    )
    attention: AttentionName = Field(
        default="sdpa",
        description="attention kernel; falls back to sdpa if a flash attention is not installed",
    )

    def products_on(self, device: str) -> Literal["no", "bf16", "fp16"]:
        """The half precision of products on "cpu" or "cuda"; "no" for float32."""
        if self.precision == "auto":
            return "bf16" if device == "cuda" else "no"
        return "no" if self.precision == "fp32" else self.precision

    def encoding_on(self, device: str) -> Precision:
        """The precision of the encoder's products on "cpu" or "cuda"."""
        products = self.products_on(device)
        return "fp32" if products == "no" else products


class LogConfig(_Section):
    """Where numbers are logged in addition to train.jsonl."""

    trackers: list[Literal["tensorboard", "trackio", "wandb"]] = Field(
        default=[], description="also send losses and scores there"
    )
    project: str = Field(default="craft", description="name of the series of runs in the trackers")


class LoraConfig(_Section):
    """Low-rank adapters, for `encoder=lora` and `method=llm_lora`."""

    rank: int = Field(default=128, ge=1, description="rank of the adapters (Zhang et al., 2024)")
    alpha: float = Field(
        default=256, gt=0, description="scale; updates are multiplied by alpha / rank"
    )
    dropout: float = Field(default=0.05, ge=0, lt=1, description="dropout of the adapters' input")


class LdifsConfig(_Section):
    """The feature distance of LDIFS (Mukhoti et al., TMLR 2024), for `method=ldifs`."""

    weight: float = Field(default=10.0, ge=0, description="weight of the distance")
    norm: Literal["token", "channel", "none"] = Field(
        default="token",
        description="axis along which features are normalised: tokens (the authors' code), "
        "channels, or neither; a good weight for one is not a good weight for another",
    )
    points: int = Field(
        default=5,
        ge=1,
        description="number of evenly spaced depths to compare, starting with the embeddings",
    )


class CodebookConfig(_Section):
    """How much of the codebook is used (paper, Table 6); language models are unaffected."""

    fraction: float = Field(default=1.0, gt=0, le=1, description="share of the codewords to use")
    subset: SubsetKind = Field(
        default="random", description="drawn with codebook.seed, or at equal intervals"
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=GREATEST_SEED,
        description="seed of a random subset, the same for every adaptation",
    )

    @property
    def chosen(self) -> CodebookSubset | None:
        """The part of the codebook that is searched; None for all of it."""
        if self.fraction == 1:
            return None
        return CodebookSubset(self.fraction, self.subset, self.seed)


class CraftConfig(_Section):
    """Settings of CRAFT and its baselines (methods A-C, M and P).

    ``craft_paper`` in :mod:`~craft.settings.presets` has the paper's values where these differ.
    """

    method: MethodName = Field(
        default="craft",
        description="craft; discrete_ft: only its answer loss; vision_ft, ldifs, projector_ft, "
        "llm_lora: continuous baselines, whose features are not quantised; zero_shot: no training",
    )
    encoder: EncoderMode = Field(
        default="full",
        description="which of the encoder's weights train: all, low-rank adapters that are merged "
        "at the end, the layer norms, or HeBA adapters, which are saved without the encoder",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="sgd, HeBA's choice, has momentum 0.9"
    )
    steps: int = Field(default=500, ge=0, description="optimiser steps")
    epochs: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="passes over the training examples, instead of steps",
    )
    min_steps: int = Field(default=0, ge=0, description="minimum number of steps if epochs is set")
    batch: int = Field(default=24, ge=2, description="images per step, over all processes")
    lr: float = Field(default=3e-4, gt=0, description="peak learning rate of pretrained weights")
    lr_new: float = Field(
        default=1e-3, gt=0, description="peak learning rate of class token, temperature, adapters"
    )
    warmup: float = Field(
        default=0.03,
        ge=0,
        lt=1,
        description="share of the steps during which the learning rate warms up",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay")
    clip: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    sal_reduction: Literal["token_mean", "sample_sum"] = Field(
        default="token_mean",
        description="answer loss: mean over answer tokens or, as the paper words it, sum over each "
        "answer's tokens, averaged over images",
    )
    lambda_sal: float = Field(
        default=1.0, ge=0, description="weight of the answer loss; the paper has none, i.e. 1"
    )
    lambda_commit: float = Field(default=0.2, ge=0, description="weight of the commitment loss")
    commit_levels: Literal["cumulative", "final"] = Field(
        default="cumulative",
        description="commitment loss: mean over the cumulative levels, or only the last (eq. 3)",
    )
    lambda_con: Annotated[float, Field(ge=0)] | Literal["task"] = Field(
        default=0.1,
        description="weight of the contrastive loss; task is the paper's choice: 1.0 for images "
        "with classes, 0.1 for images with their own questions",
    )
    con_scale: Literal["pretrained", "literal"] = Field(
        default="pretrained",
        description="SigLIP's own temperature and bias, or the paper's log 10 and no bias",
    )
    negatives: Literal["global", "local"] = Field(
        default="global",
        description="contrastive texts: those of the whole step, or only of the part a process "
        "computes at once",
    )
    cls_attention: Literal["one_way", "full"] = Field(
        default="one_way",
        description="the class token attends to the patches, or, as the paper words it, patches "
        "also attend to it; it is then part of the encoder and changes codes from the first step",
    )
    naming: float = Field(
        default=0.5, ge=0, le=1, description="share of open questions; the rest ask for a letter"
    )
    validate_every: int = Field(default=50, ge=1, description="steps between validations")
    validation_images: int = Field(
        default=300, ge=1, description="most validation images of each kind"
    )
    select: Literal["last", "best"] = Field(
        default="last", description="which validated weights to use as the adapted ones"
    )
    blend: bool = Field(
        default=True,
        description="return the best mixture of adapted and pretrained weights instead of the "
        "adapted ones (not in the paper; forgets less)",
    )
    forget_at_most: float = Field(
        default=4.0,
        ge=0,
        description="most points that this mixture may lose on general validation images",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=GREATEST_SEED,
        description="seed of data order, augmentation and class token",
    )
    checkpoint: CheckpointConfig = Field(default=CheckpointConfig())
    hardware: HardwareConfig = Field(default=HardwareConfig())
    log: LogConfig = Field(default=LogConfig())
    lora: LoraConfig = Field(default=LoraConfig())
    heba: HebaSettings = Field(default=HebaSettings())
    ldifs: LdifsConfig = Field(default=LdifsConfig())
    codebook: CodebookConfig = Field(default=CodebookConfig())

    @field_validator("method", mode="before")
    @classmethod
    def _no_stage(cls, method: Any) -> Any:
        if method in _STAGES:
            raise CraftError(
                f"{method} is not a method but a stage of `craft align`, which trains a language "
                "model to read codes and saves it; did you mean `craft align`?"
            )
        return method

    @field_validator("heba")
    @classmethod
    def _adapters_can_be(cls, heba: HebaSettings, others: ValidationInfo) -> HebaSettings:
        encoder = others.data.get("encoder")
        heba.over(encoder if encoder in HEBA_PRESETS else "heba_discrete")
        return heba

    @property
    def adapters(self) -> HebaConfig | None:
        """The encoder's HeBA adapters, if ``encoder`` selects them."""
        if self.encoder in ("heba", "heba_discrete"):
            return self.heba.over(self.encoder)
        return None

    def step_count(self, examples: int) -> int:
        """Number of optimiser steps for this many training examples."""
        if self.method == "zero_shot":
            return 0
        if self.epochs is None:
            return self.steps
        return max(self.min_steps, -(-int(self.epochs * examples) // self.batch))
