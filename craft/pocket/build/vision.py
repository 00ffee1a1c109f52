"""Stage 1 of the pocket models: the SigLIP pair and its residual codebook, on the general world.

This is VILA-U's recipe in miniature: image-text contrast (sigmoid loss) on features that are
quantised after a fifth of the first cycle, pixel reconstruction from them, and commitment; the
codebook is initialised with a sample of the features.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from craft.data.images.augment import Augmentation
from craft.data.images.image_set import ImageSet
from craft.data.prompts import caption
from craft.errors import CraftError

log = logging.getLogger(__name__)

#: Augmentation of each area. A flag without its colours is no longer that flag, while a drawing
#: still shows the same thing.
AUGMENTATIONS = {
    "icons": Augmentation(grey=0.15, invert=0.1, outline=0.15, thicken=0.15, blur=0.15),
    "flags": Augmentation(scale=(0.8, 1.2), rotation=8, blur=0.2),
    "glyphs": Augmentation(invert=0.5, thicken=0.4, blur=0.2, rotation=10),
}


@dataclass(frozen=True)
class Phase:
    """One learning-rate cycle, and the share of each area, in order, in its batches."""

    steps: int
    lr: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class VisionRecipe:
    """Sizes and schedule of the SigLIP pair."""

    image_size: int = 48
    patch_size: int = 8
    width: int = 128
    mlp: int = 384
    layers: int = 5
    text_layers: int = 1
    heads: int = 4
    text_length: int = 12
    codes: int = 512
    levels: int = 4
    # Later cycles have more characters, which were weakest after the first cycle.
    phases: tuple[Phase, ...] = (
        Phase(2600, 1e-3, (0.64, 0.18, 0.18)),
        Phase(1500, 6e-4, (0.52, 0.14, 0.34)),
        Phase(5000, 8e-4, (0.55, 0.15, 0.30)),
    )
    batch: int = 96
    texts: int = 128
    weight_decay: float = 0.05
    commit: float = 0.25
    reconstruction: float = 1.0
    codebook_start: float = 0.2
    seed: int = 0


class GeneralBatches:
    """Draws augmented batches of the general world, area by area."""

    def __init__(self, areas: list[ImageSet], size: int, seed: int):
        self.areas = areas
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self.classes = sorted({(a.subject, label) for a in areas for label in a.labels})
        index = {key: i for i, key in enumerate(self.classes)}
        self.targets = [torch.tensor([index[a.subject, x] for x in a.labels]) for a in areas]

    def sample(self, count: int, shares: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """Images [count, 3, S, S] in [0, 1] and class indices [count]."""
        images, targets = [], []
        left = count
        for i, (area, target) in enumerate(zip(self.areas, self.targets, strict=True)):
            augment = AUGMENTATIONS[area.area]
            n = left if i == len(self.areas) - 1 else round(count * shares[i])
            left -= n
            rows = torch.randint(len(area), (n,), generator=self.generator)
            pixels = area.images.pixels(rows.tolist()).float() / 255
            images.append(augment(pixels, self.size, self.generator))
            targets.append(target[rows])
        return torch.cat(images), torch.cat(targets)


def new_siglip(recipe: VisionRecipe, vocabulary: int) -> SiglipModel:
    """A SiglipModel with random weights."""
    shared = {"hidden_size": recipe.width, "num_attention_heads": recipe.heads}
    config = SiglipConfig(
        vision_config={
            **shared,
            "image_size": recipe.image_size,
            "patch_size": recipe.patch_size,
            "intermediate_size": recipe.mlp,
            "num_hidden_layers": recipe.layers,
        },
        text_config={
            **shared,
            "vocab_size": vocabulary,
            "intermediate_size": 2 * recipe.width,
            "num_hidden_layers": recipe.text_layers,
            "max_position_embeddings": recipe.text_length,
            "projection_size": recipe.width,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    )
    model = SiglipModel(config)
    # In bfloat16 on a CPU, the backward pass of torch's fused attention is ten times slower.
    model.set_attn_implementation("eager")
    with torch.no_grad():
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-10)
    return model


def patch_features(model: SiglipModel, pixels: Tensor) -> Tensor:  # [B, N, D]
    """The penultimate block's output, which is quantised."""
    hidden = model.vision_model.embeddings(pixels)
    for block in model.vision_model.encoder.layers[:-1]:
        hidden = block(hidden, None)
    return hidden


def text_features(model: SiglipModel, ids: Tensor) -> Tensor:  # [n, T] -> [n, D]
    """The text tower's pooled output."""
    return cast(Any, model.get_text_features(input_ids=ids)).pooler_output


def pooled(model: SiglipModel, features: Tensor) -> Tensor:  # [B, D]
    """SigLIP's image embedding of (quantised) features: last block, norm and attention pooling."""
    hidden = model.vision_model.encoder.layers[-1](features, None)
    return F.normalize(model.vision_model.head(model.vision_model.post_layernorm(hidden)), dim=-1)


class ResidualCodebook(nn.Module):
    """The trainable shared codebook: quantises ``levels`` times, each time the residual."""

    def __init__(self, codes: int, width: int, levels: int):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(codes, width))
        self.levels = levels
        self.usage = torch.zeros(codes)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Straight-through z̃ [B, N, D], and commitment and codebook losses, means over levels."""
        residual, total = z.detach(), torch.zeros_like(z)
        commit = codebook = z.new_zeros(())
        for _ in range(self.levels):
            with torch.no_grad():
                scores = residual @ self.table.T - 0.5 * self.table.square().sum(1)
                codes = scores.argmax(-1)
                self.usage += torch.bincount(codes.flatten(), minlength=len(self.table))
            total = total + self.table[codes]
            residual = (z - total).detach()
            commit = commit + F.mse_loss(z, total.detach()) / self.levels
            codebook = codebook + F.mse_loss(total, z.detach()) / self.levels
        return z + (total - z).detach(), commit, codebook

    @torch.no_grad()
    def start(self, z: Tensor, generator: torch.Generator) -> None:
        """Set codewords to random features, scaled by U(0, 1) so that some fit small residuals."""
        rows = z.flatten(0, 1)
        pick = torch.randint(len(rows), (len(self.table),), generator=generator)
        self.table.copy_(rows[pick] * torch.rand(len(pick), 1, generator=generator))

    @torch.no_grad()
    def revive(self, z: Tensor, generator: torch.Generator) -> int:
        """Move codewords not used since the last call to random features; return their number."""
        dead = (self.usage == 0).nonzero().squeeze(1)
        rows = z.flatten(0, 1)
        pick = torch.randint(len(rows), (len(dead),), generator=generator)
        self.table[dead] = rows[pick] * torch.rand(len(pick), 1, generator=generator)
        self.usage.zero_()
        return len(dead)


class VisionStage:
    """Trains the pair and its codebook; each call of :meth:`run` is one phase."""

    def __init__(
        self, areas: list[ImageSet], tokenizer: PreTrainedTokenizerFast, recipe: VisionRecipe
    ):
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.areas = areas
        self.model = new_siglip(recipe, len(tokenizer)).train()
        self.book = ResidualCodebook(recipe.codes, recipe.width, recipe.levels)
        classes = GeneralBatches(areas, recipe.image_size, recipe.seed).classes
        self.text = tokenizer(
            [caption(subject, label) for subject, label in classes],
            padding="max_length",
            max_length=recipe.text_length,
            return_tensors="pt",
        )["input_ids"]
        if self.text.shape[1] != recipe.text_length:
            raise CraftError(
                f"a caption has {self.text.shape[1]} tokens, text_length is {recipe.text_length}"
            )

    def state(self) -> dict[str, Tensor]:
        """Tensors from which :meth:`load` restores the state after a phase."""
        return {**self.model.state_dict(), "codebook": self.book.table.detach()}

    def load(self, state: dict[str, Tensor]) -> None:
        state = dict(state)
        with torch.no_grad():
            self.book.table.copy_(state.pop("codebook"))
        self.model.load_state_dict(state)

    def run(self, number: int) -> None:
        """Train phase ``number``, with a pixel decoder that is discarded afterwards."""
        recipe, phase = self.recipe, self.recipe.phases[number]
        model, book, text = self.model, self.book, self.text
        torch.manual_seed(recipe.seed + number)
        batches = GeneralBatches(self.areas, recipe.image_size, recipe.seed + number)
        decoder = nn.Sequential(
            nn.Linear(recipe.width, 2 * recipe.width),
            nn.GELU(),
            nn.Linear(2 * recipe.width, 3 * recipe.patch_size**2),
        )
        decay = [p for p in model.parameters() if p.ndim > 1] + list(decoder.parameters())
        plain = [p for p in model.parameters() if p.ndim <= 1] + [book.table]
        optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": recipe.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=phase.lr,
            betas=(0.9, 0.98),
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, phase.lr, phase.steps, pct_start=0.05, cycle_momentum=False
        )
        half = partial(torch.autocast, "cpu", torch.bfloat16)
        begin = round(phase.steps * recipe.codebook_start) if number == 0 else 0
        started = time.monotonic()
        for step in range(phase.steps):
            pixels, targets = batches.sample(recipe.batch, phase.shares)
            pixels = pixels * 2 - 1
            with half():
                z = patch_features(model, pixels)
            z = z.float()
            if number == 0 and step == begin:
                book.start(z, batches.generator)
            elif begin < step < 0.8 * phase.steps and step % 50 == 0:
                book.revive(z, batches.generator)
            if step >= begin:
                z_hat, commit, codebook = book(z)
            else:
                z_hat, commit, codebook = z, z.new_zeros(()), z.new_zeros(())

            extra = torch.randint(len(text), (recipe.texts,), generator=batches.generator)
            chosen = torch.cat([targets, extra]).unique()
            with half():
                words = F.normalize(text_features(model, text[chosen]).float(), dim=-1)
                seen = pooled(model, z_hat).float()
            sign = torch.where(targets[:, None] == chosen[None], 1.0, -1.0)
            logits = seen @ words.T * model.logit_scale.exp() + model.logit_bias
            contrast = -F.logsigmoid(logits * sign).sum(1).mean()
            patches = F.unfold(pixels, recipe.patch_size, stride=recipe.patch_size).transpose(1, 2)
            rebuilt = F.mse_loss(decoder(z_hat), patches)
            loss = contrast + recipe.reconstruction * rebuilt + recipe.commit * commit + codebook

            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([*model.parameters(), book.table, *decoder.parameters()], 1.0)
            optimizer.step()
            schedule.step()
            if step % 100 == 0 or step == phase.steps - 1:
                top = (chosen[logits.argmax(1)] == targets).float().mean()
                power = z.detach().var(dim=(0, 1)).sum()
                error = (z - z_hat).detach().square().sum(-1).mean() / power
                log.info(
                    "vision phase %d step %d/%d contrast %.3f top1 %.3f rec %.4f qerr %.3f "
                    "std %.3f %.2f steps/s",
                    number + 1, step, phase.steps, contrast.item(), top.item(), rebuilt.item(),
                    error.item(), z.detach().std().item(),
                    (step + 1) / (time.monotonic() - started),
                )  # fmt: skip
