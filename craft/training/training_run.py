"""An adaptation in progress: its steps, and the state needed to resume it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipModel,
    get_cosine_schedule_with_warmup,
)

from craft.adapters.installation import is_heba
from craft.adapters.lora import inject_lora, train_dropout
from craft.data.domains.domain import Domain
from craft.errors import CraftError
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.attention import available_attention
from craft.models.siglip_texts import text_embeddings
from craft.models.vision_tower import DiscreteVisionTower
from craft.runtime.random_numbers import own_random_numbers
from craft.settings.methods import METHODS, Recipe
from craft.settings.training import CraftConfig
from craft.training.batches import DataState, DomainBatches
from craft.training.distributed.processes import choose_strategy
from craft.training.distributed.strategy import Models
from craft.training.ldifs import FeatureAnchor
from craft.training.loss_terms import ERROR, LossTerms
from craft.training.micro_batches import MicroBatch, micro_batches
from craft.training.objective import ContrastiveHead
from craft.training.proofs import MovementCheck
from craft.training.records.checkpoint import Checkpoint
from craft.training.trainee import checkpoint_activations, keep_activations, mark_encoder
from craft_kernels import deferred_finite_checks


class TrainingRun:
    """Models, optimiser and data of an adaptation, for any number of processes."""

    def __init__(
        self,
        tower: DiscreteVisionTower,
        surrogate: AlignedLanguageModel,
        siglip: SiglipModel,
        domain: Domain,
        config: CraftConfig,
        accelerator: Accelerator,
        text_tokenizer: PreTrainedTokenizerBase | None = None,
        recipe: Recipe | None = None,
    ):
        self.config = config
        self.recipe = METHODS[config.method] if recipe is None else recipe
        self.accelerator = accelerator
        self.tower = tower
        self.surrogate = surrogate
        self.siglip = siglip.requires_grad_(False)
        self.steps = config.step_count(len(domain))
        self.batches = DomainBatches(domain, tower.image_size, config)
        by_task = config.lambda_con == "task"
        self._lambda_con = domain.contrastive_weight if by_task else float(config.lambda_con)
        # Always drawn, so that the data's random numbers are the same for every method.
        head = ContrastiveHead(siglip, config.con_scale == "literal", self.batches.generator)
        if self.recipe.regularized and config.cls_attention == "full":
            tower.adopt_class_token(head.give_token())
        self.head = head if self.recipe.regularized and self._lambda_con > 0 else None
        models = Models(tower, surrogate, self.head)
        self.strategy = choose_strategy(config, accelerator)(models, config, accelerator)
        device = accelerator.device
        # Validation and code statistics use the same precision as training.
        tower.precision = config.hardware.encoding_on(device.type)
        self.texts = torch.zeros(len(domain.texts), 0, device=device)  # without a contrastive loss
        if self.head is not None:
            tokenizer = text_tokenizer or surrogate.tokenizer
            self.texts = text_embeddings(siglip, tokenizer, domain.texts).to(device)
        self._losses: LossTerms | None = None
        self._moved = False
        self._attention: list[tuple[PreTrainedModel, str]] = []

    def prepare(self) -> None:
        """Choose what trains, install adapters, and set up optimiser and processes."""
        config = self.config
        attention = available_attention(config.hardware.attention)
        for model in (self.tower, self.surrogate.language_model):
            self._attention.append((model, model.config._attn_implementation))
            model.set_attn_implementation(attention)
        anchor = FeatureAnchor(self.tower, config.ldifs) if self.recipe.ldifs else None
        self._losses = LossTerms(config, self.recipe, self.strategy, self._lambda_con, anchor)
        trains = self.recipe.trains
        self.tower.requires_grad_(False)
        if trains == "encoder":
            mark_encoder(self.tower, config)
        both = trains == "projector_and_language_model"
        if trains == "language_model":
            model = self.surrogate.language_model
            inject_lora(model, config.lora, config.seed, encoder=False)
        if both:
            self.surrogate.language_model.requires_grad_(True)
        self.surrogate.projector.requires_grad_(both or trains == "projector")
        self.strategy.prepare()
        models = self.strategy.models
        if self.strategy.recomputes:
            checkpoint_activations(models.tower, models.surrogate.language_model)
        if self.trained:
            models.tower.train(trains == "encoder")
            self.schedule = self._schedule(done=0)

    def _schedule(self, done: int) -> LambdaLR:
        """The schedule after ``done`` steps.

        Accelerate does not prepare it, because it would then advance once per process.
        """
        warmup = round(self.config.warmup * self.steps)
        return get_cosine_schedule_with_warmup(
            self.strategy.base, warmup, self.steps, last_epoch=done - 1
        )

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Every weight that trains, by its name for users."""
        return self.strategy.trained

    def close(self) -> None:
        """Restore the models except for their weights, also after a failure."""
        if self._losses is not None and self._losses.anchor is not None:
            self._losses.anchor.release()
        models = self.strategy.models
        if self.strategy.recomputes:
            keep_activations(models.tower, models.surrogate.language_model)
        for model, attention in self._attention:
            model.set_attn_implementation(attention)
        models.surrogate.eval()

    def frozen(self, models: Models) -> dict[str, nn.Module]:
        """The modules in which nothing may change."""
        parts: dict[str, tuple[str | None, nn.Module]] = {
            "language_model": ("language_model", models.surrogate.language_model),
            "projector": ("projector", models.surrogate.projector),
            "text_tower": (None, cast(Any, self.siglip).text_model),
        }
        if self.recipe.trains != "encoder":
            parts["encoder"] = ("encoder", models.tower)
        trained = str(self.recipe.trains).split("_and_")
        return {n: module for n, (part, module) in parts.items() if part not in trained}

    def gradients(self, first: bool) -> tuple[dict[str, float], dict[str, float]]:
        """Run forward and backward passes of the next step.

        Args:
            first: also compute the norm of each loss term's gradient.

        Returns:
            Losses, and gradient norms or an empty dict.

        Raises:
            CraftError: a loss is not finite.
        """
        strategy, losses = self.strategy, self._losses
        assert losses is not None
        parts = micro_batches(self.batches, self.surrogate, self.texts, self.accelerator)
        tokens: float | Tensor = float(sum(part.answer_tokens for part in parts))
        if self.accelerator.num_processes > 1:
            tokens = strategy.average(torch.tensor(tokens, device=self.accelerator.device))
        found: list[dict[str, Tensor]] = []
        norms: dict[str, float] = {}
        strategy.zero_grad()
        if first:
            norms = strategy.term_norms(partial(self._preview, losses, parts[0], tokens))
        with deferred_finite_checks():  # the device is busy with all parts before it is waited for
            for number, part in enumerate(parts, 1):
                with strategy.part(last=number == len(parts)):
                    terms, error = losses.of(part, tokens)
                    strategy.backward(torch.stack(list(terms.values())).sum())
                found.append({n: x.detach() for n, x in (terms | {ERROR: error}).items()})
        strategy.finish()
        return losses.total(found, step=self.schedule.last_epoch + 1), norms

    def _preview(
        self, losses: LossTerms, part: MicroBatch, tokens: float | Tensor, model: Any
    ) -> dict[str, Tensor]:
        """A part's loss terms, computed without advancing the random number generators."""
        with own_random_numbers(self.accelerator.device):
            return losses.of(part, tokens, model)[0]

    def step(self, first: bool = False) -> tuple[dict[str, float], dict[str, float]]:
        """Run one optimiser step; arguments, results and errors as for :meth:`gradients`."""
        with ExitStack() as stack:
            self._seed_dropout(stack)
            result = self.gradients(first)
            check = None
            if not self._moved and self.schedule.get_last_lr()[0] > 0:
                models = self.strategy.models
                frozen = self.frozen(models) | {"encoder": models.tower}
                check = MovementCheck(self.trained, frozen, self.strategy.gradients())
            updated = self.strategy.step()
        if check is not None and updated:
            check.check()
            self._moved = True
        self.schedule.step()
        return result

    def _seed_dropout(self, stack: ExitStack) -> None:
        """Seed the adapters' dropout and random scales by step and process, so that a resumed run
        draws the same numbers."""
        if not any("lora_" in name or is_heba(name) for name in self.trained):
            return
        models = self.strategy.models
        stack.enter_context(train_dropout(models.tower, models.surrogate))
        rank, step = self.accelerator.process_index, self.schedule.last_epoch
        seed = (self.config.seed * 1_000_003 + step) * 1_009 + rank
        stack.enter_context(own_random_numbers(self.accelerator.device, seed))

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Everything that changes in a run except the step number, as tensors and JSON.

        It is complete on the main process; every process must call this.
        """
        data = self.batches.state()
        scaler = self.accelerator.scaler
        tensors = {
            "weights": self.strategy.weights(),
            "optimizer": self.strategy.moments(),
            "data": {"generator": data.generator},
        }
        return tensors, {
            "scaler": None if scaler is None else scaler.state_dict(),
            "rng": data.rng,
            "queue": data.queue,
        }

    def restore(self, found: Checkpoint) -> None:
        """Restore what :meth:`state` returned.

        Raises:
            CraftError: the checkpoint trains other weights than this run.
        """
        weights, state = found.tensors["weights"], found.state
        if set(weights) != set(self.trained):
            other = sorted(set(weights) ^ set(self.trained))
            raise CraftError(
                f"the checkpoint and this run do not train the same weights; {other[0]!r} is only "
                "in one of them"
            )
        self.strategy.restore(weights, found.tensors["optimizer"])
        self.schedule = self._schedule(done=found.step)
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        generator = found.tensors["data"]["generator"]
        self.batches.restore(DataState(generator, state["rng"], state["queue"]))
