"""The vision tower E_θ with its frozen codebook: pixels in, residual codes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, SiglipVisionModel
from transformers import initialization as init
from transformers.models.siglip.modeling_siglip import (
    SiglipPreTrainedModel,
    SiglipVisionEmbeddings,
)

from craft.adapters.installation import install_heba
from craft.codebook import Codebook, CodebookMismatchError, CodebookSubset
from craft.errors import CraftError
from craft.models.blocks import BlockStack, ReadableBlock
from craft.models.codebook_checkpoint import CodebookCheckpoint
from craft.models.configuration import DiscreteVisionConfig
from craft.quantization import quantize
from craft.runtime.device import pixels_on
from craft.settings.choices import Precision
from craft.settings.heba import HebaConfig
from craft_kernels import ResidualCodes, deferred_finite_checks


class DiscreteVisionTower(CodebookCheckpoint, SiglipPreTrainedModel):
    """A SigLIP vision encoder, read at one of its blocks, with the codebook of its features.

    It has only the parts that its output depends on: patch and position embeddings and the blocks
    up to ``config.read_layer``, without post-norm and pooling head (paper, sec. 4; methods A1).

    Args:
        config: any depth and width.
        codebook: frozen, of the encoder's width. Without it the tower has features but no codes.

    Raises:
        CraftError: the codebook's dimension is not the encoder's width, or there is no such block.
        CodebookMismatchError: the config names another codebook.
    """

    config_class = DiscreteVisionConfig
    config: Any  # SiglipVisionConfig's types allow non-square images
    main_input_name = "pixels"
    base_model_prefix = ""
    _no_split_modules = ["SiglipVisionEmbeddings", "ReadableBlock"]  # noqa: RUF012

    def __init__(self, config: DiscreteVisionConfig, codebook: Codebook | None = None):
        super().__init__(config)
        if not -config.num_hidden_layers <= config.read_layer <= -1:
            raise CraftError(
                f"read_layer must be in [-{config.num_hidden_layers}, -1], got {config.read_layer}"
            )
        if codebook is not None:
            if codebook.dim != config.hidden_size:
                raise CraftError(
                    f"codebook has dimension {codebook.dim}, the encoder's width is "
                    f"{config.hidden_size}: they were not trained together"
                )
            if config.codebook_fingerprint is not None:
                codebook.require_fingerprint(config.codebook_fingerprint)
            if config.codebook_subset is not None:
                codebook = codebook.restrict(CodebookSubset(**config.codebook_subset))
            _note_codebook(config, codebook)
        self._codebook = codebook
        #: Precision of matrix products in :meth:`encode` and :meth:`continuous`; quantisation uses
        #: float32.
        self.precision: Precision = "fp32"
        self._compiled: Callable[[Tensor], tuple[Tensor, Tensor | None]] | None = None
        self.class_token = None
        if config.class_token:
            self.class_token = nn.Parameter(torch.zeros(config.hidden_size))
        self.embeddings = SiglipVisionEmbeddings(config)
        depth = config.num_hidden_layers + config.read_layer + 1
        self.blocks = BlockStack(ReadableBlock(config) for _ in range(depth))
        self.post_init()
        if config.heba is not None:
            install_heba(self, HebaConfig(**config.heba), grid=self.grid)

    @classmethod
    def from_siglip(
        cls, vision: SiglipVisionModel, codebook: Codebook | None, read_layer: int = -2
    ) -> DiscreteVisionTower:
        """Make the tower of a SigLIP vision model; the weights are shared, not copied."""
        settings: Any = vision.config.to_dict()
        settings.pop("model_type")
        config = DiscreteVisionConfig(**settings, read_layer=read_layer)
        config._attn_implementation = vision.config._attn_implementation
        with torch.device("meta"):
            tower = cls(config, codebook)
        weights = vision.state_dict(keep_vars=True)
        theirs = {
            name: name.replace("blocks.", "encoder.layers.", 1) for name in tower.state_dict()
        }
        trained = {name: weights[key].requires_grad for name, key in theirs.items()}
        tower.load_state_dict({name: weights[key] for name, key in theirs.items()}, assign=True)
        for name, parameter in tower.named_parameters():
            parameter.requires_grad_(trained[name])
        tower.embeddings.position_ids = vision.embeddings.position_ids
        return tower.train(vision.training)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self and self.class_token is not None:
            init.normal_(self.class_token, std=0.02)

    @property
    def codebook(self) -> Codebook:
        """The codebook; raises CodebookMismatchError if there is none."""
        if self._codebook is None:
            raise CodebookMismatchError(
                "this tower has no codebook, so its features have no codes; pass codebook= when "
                "making it, or set tower.codebook"
            )
        return self._codebook

    @codebook.setter
    def codebook(self, codebook: Codebook) -> None:
        self._codebook = codebook
        _note_codebook(self.config, codebook)

    def adopt_class_token(self, token: Tensor) -> None:  # [D]
        """Add this class token, which patches attend to, to the tower's weights."""
        self.config.class_token = True
        self.class_token = nn.Parameter(token.clone())

    def adopt_adapters(self, config: HebaConfig) -> None:
        """Add HeBA adapters to every block; they become part of the tower's weights."""
        install_heba(self, config, grid=self.grid)
        self.config.heba = {
            **asdict(config),
            "sites": list(config.sites),
        }  # the form it has in JSON

    @property
    def image_size(self) -> int:
        """Side length of the images, in pixels."""
        return int(self.config.image_size)

    @property
    def read_layer(self) -> int:
        """Block whose output is quantised, counted from the end."""
        return int(self.config.read_layer)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.image_size // int(self.config.patch_size)
        return side, side

    def features(
        self,
        pixels: Tensor,  # [B, 3, S, S] in [-1, 1]
        class_token: Tensor | None = None,  # [D]
    ) -> tuple[Tensor, Tensor | None]:
        """Features z [B, N, D] before quantisation and, with a class token, its output [B, D].

        A class token given here attends to the patches and no patch attends to it (methods A6), so
        z is bit-identical with and without it. In a tower with its own class token, patches attend
        to that token, and its output is always returned.

        Raises:
            CraftError: a class token is given and the tower has its own.
        """
        hidden = self.embeddings(pixels)
        if self.class_token is not None:
            if class_token is not None:
                raise CraftError("this tower has its own class token; give no other")
            own = self.class_token.expand(len(hidden), 1, -1).to(hidden.dtype)
            hidden, _ = self.blocks(torch.cat([own, hidden], 1))
            return hidden[:, 1:].contiguous(), hidden[:, 0]
        token = None if class_token is None else class_token.expand(len(hidden), 1, -1)
        hidden, token = self.blocks(hidden, token)
        return hidden, None if token is None else token[:, 0]

    def compile_features(self) -> None:
        """Run :meth:`encode` and :meth:`continuous` through torch.compile from now on.

        Compiled products are rounded differently, so codes in near-ties may differ. Compilation
        happens for the first batch size, and once more for all other sizes.
        """
        if self._compiled is None:
            self._compiled = torch.compile(self.features)

    def forward(self, pixels: Tensor) -> ResidualCodes:
        """Quantise images [B, 3, S, S] in [-1, 1], with straight-through gradients.

        Features are quantised in float32, also under autocast.
        """
        z, _ = self.features(pixels)
        return quantize(z, self.codebook)

    @torch.inference_mode()
    def encode(self, images: Tensor, batch: int = 64) -> ResidualCodes:
        """Codes of images [n, 3, S, S] in [0, 1], batch by batch, without gradients."""
        with deferred_finite_checks():
            parts = [quantize(self._seen(chunk), self.codebook) for chunk in images.split(batch)]
        if len(parts) == 1:
            return parts[0]  # not copied
        return ResidualCodes(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    @torch.inference_mode()
    def continuous(self, images: Tensor, batch: int = 64) -> Tensor:  # [n, N, D]
        """Features of images [n, 3, S, S] in [0, 1] before quantisation, which baselines read."""
        parts = [self._seen(chunk) for chunk in images.split(batch)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _seen(self, images: Tensor) -> Tensor:  # [b, N, D]
        """Features of images in [0, 1], computed in :attr:`precision`."""
        features = self._compiled or self.features
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        if half is None:
            return features(self._pixels(images))[0]
        with torch.autocast(self.device.type, half):
            return features(self._pixels(images))[0].float()

    def _pixels(self, images: Tensor) -> Tensor:
        place = self.embeddings.patch_embedding.weight
        return pixels_on(images, place.device).to(place.dtype) * 2 - 1


def _note_codebook(config: Any, codebook: Codebook) -> None:
    config.codebook_fingerprint = codebook.fingerprint
    config.codebook_subset = None if codebook.subset is None else asdict(codebook.subset)


AutoModel.register(DiscreteVisionConfig, DiscreteVisionTower)
