"""The adaptation itself: the vision encoder learns a domain, everything else stays as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from transformers import SiglipModel, get_cosine_schedule_with_warmup

from craft.data.augment import Augmentation
from craft.data.dialogues import TextBatch, training_batch
from craft.data.question_domain import AnyDomain
from craft.data.questions import Lesson, seeded
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.quantize import commitment, quantize
from craft.training.config import CraftConfig
from craft.training.frozen import FrozenProof
from craft.training.objective import ContrastiveHead, gradient_norms, text_embeddings
from craft.training.selection import Selection, Views

#: Training images are varied mildly: the point is the domain's own look.
AUGMENTATION = Augmentation(scale=(0.85, 1.15), blur=0.1)


@dataclass(frozen=True)
class AdaptationResult:
    """The adapted tower (frozen, eval) and how it got there.

    ``blend`` is the share of adapted weights in it, the rest are the pretrained ones; ``history``
    holds one dict a validation, mixtures at its end; ``frozen_hashes`` what was proved unchanged.
    """

    tower: DiscreteVisionTower
    blend: float
    history: list[dict[str, float]] = field(default_factory=list)
    frozen_hashes: dict[str, str] = field(default_factory=dict)
    gradient_norms: dict[str, float] = field(default_factory=dict)


class DomainBatches:
    """Endless shuffled batches of a domain's training images with questions about them."""

    def __init__(self, domain: AnyDomain, size: int, config: CraftConfig):
        self.domain = domain
        self.size = size
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        self.rng = seeded("adapt", config.seed)
        self._queue: list[int] = []

    def lessons(self) -> list[Lesson]:
        """The next ones of an endless sequence of shuffled passes over the training examples."""
        while len(self._queue) < self.config.batch:
            order = torch.randperm(self.domain.lessons, generator=self.generator)
            self._queue += order.tolist()
        rows, self._queue = self._queue[: self.config.batch], self._queue[self.config.batch :]
        return [self.domain.lesson(row, self.rng, self.config.naming) for row in rows]

    def images(self, lessons: list[Lesson]) -> Tensor:
        """Augmented images [B, 3, S, S] in [0, 1]."""
        images = self.domain.train.images[[lesson.row for lesson in lessons]].float() / 255
        return AUGMENTATION(images, self.size, self.generator)

    @staticmethod
    def text(lessons: list[Lesson], tokenizer: Any) -> TextBatch:
        """Prompts and answers as tokens."""
        return training_batch(tokenizer, [x.prompt for x in lessons], [x.answer for x in lessons])


def adapt(
    tower: DiscreteVisionTower,
    surrogate: AlignedLanguageModel,
    siglip: SiglipModel,
    domain: AnyDomain,
    config: CraftConfig,
    run_dir: Path,
    *,
    general: Views | None = None,
    on_step: Callable[[int, int, dict[str, float]], None] | None = None,
) -> AdaptationResult:
    """Fine-tune ``tower`` on ``domain`` through the frozen ``surrogate`` (paper, sec. 4).

    Writes ``config.yaml`` and ``train.jsonl`` to ``run_dir``. Which weights are returned is
    chosen on validation images, see :class:`~craft.training.selection.Selection`.

    Args:
        tower: trained in place; pass a fresh copy.
        surrogate: frozen language model that gives L_SAL.
        siglip: the frozen pair the tower came from; its text tower gives the contrastive texts.
        general: images [n, 3, S, S] in [0, 1] and questions that watch for forgetting.
        on_step: called with (step, steps, losses) after every step.

    Raises:
        CodebookMismatchError: surrogate and tower speak different codebooks.
        RuntimeError: a frozen part changed, or a loss was not finite.
    """
    tower.codebook.require_fingerprint(surrogate.codebook_fingerprint)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
    size = tower.image_size
    batches = DomainBatches(domain, size, config)
    head = ContrastiveHead(siglip, config.con_scale == "literal", batches.generator)
    texts = text_embeddings(siglip, surrogate.tokenizer, domain.texts)
    siglip.requires_grad_(False)
    proof = FrozenProof(
        tower.codebook,
        language_model=surrogate.language_model,
        projector=surrogate.projector,
        text_tower=siglip.text_model,
    )
    tower.train().requires_grad_(True)
    encoder = list(tower.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": encoder, "lr": config.lr}, {"params": head.parameters(), "lr": config.lr_new}],
        weight_decay=config.weight_decay,
    )
    schedule = get_cosine_schedule_with_warmup(
        optimizer, round(config.warmup * config.steps), config.steps
    )
    selection = Selection(tower, surrogate, domain, general, config)
    log = (run_dir / "train.jsonl").open("w")
    norms: dict[str, float] = {}
    started = time.monotonic()

    def record(entry: dict[str, Any]) -> None:
        log.write(json.dumps(entry) + "\n")
        log.flush()

    with log:
        record({"step": 0, "validation": selection.validate(0)})
        for step in range(1, config.steps + 1):
            lessons = batches.lessons()
            z, class_output = tower.features(batches.images(lessons) * 2 - 1, head.token)
            assert class_output is not None
            quantized = quantize(z, tower.codebook)
            text = batches.text(lessons, surrogate.tokenizer)
            said = texts[[lesson.text for lesson in lessons]]
            keys = torch.tensor([lesson.keys for lesson in lessons])
            terms = {
                "sal": surrogate.answer_loss(quantized.quantized, text),
                "commit": config.lambda_commit
                * commitment(quantized.residual_sq_norms, z.shape[-1], config.commit_levels),
                "con": config.lambda_con * head(class_output, said, keys),
            }
            if step == 1:
                norms = gradient_norms(terms, encoder)
                record({"step": 0, "gradient_norms": norms})
            loss = torch.stack(list(terms.values())).sum()
            if not loss.isfinite():
                values = {name: term.item() for name, term in terms.items()}
                raise RuntimeError(
                    f"the loss is not finite at step {step}: {values}; lower lr (now {config.lr})"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([*encoder, *head.parameters()], config.clip)
            optimizer.step()
            schedule.step()
            losses = {name: term.item() for name, term in terms.items()}
            error = quantized.residual_sq_norms[..., -1].mean() / z.detach().square().sum(-1).mean()
            losses["qerr"] = error.item()
            entry: dict[str, Any] = {"step": step, **losses, "lr": schedule.get_last_lr()[0]}
            if step % config.validate_every == 0 or step == config.steps:
                entry["validation"] = selection.validate(step)
                entry["seconds"] = time.monotonic() - started
            record(entry)
            if on_step is not None:
                on_step(step, config.steps, losses)
    tower.eval().requires_grad_(False)
    return AdaptationResult(
        tower,
        selection.blend(config.steps) if config.blend else 1.0,
        selection.history,
        proof.check(),
        norms,
    )
