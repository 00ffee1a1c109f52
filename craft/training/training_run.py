"""One adaptation under way: a step of it, and what is needed to go on with it elsewhere."""

from __future__ import annotations

import math
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
from craft.quantization import commitment, quantize
from craft.runtime.random_numbers import own_random_numbers
from craft.settings.methods import METHODS, Recipe
from craft.settings.training import CraftConfig
from craft.training.batches import DataState, DomainBatches
from craft.training.distributed.processes import choose_strategy
from craft.training.distributed.strategy import Models
from craft.training.ldifs import FeatureAnchor
from craft.training.micro_batches import MicroBatch, micro_batches
from craft.training.objective import ContrastiveHead
from craft.training.proofs import MovementCheck
from craft.training.records.checkpoint import Checkpoint
from craft.training.trainee import checkpoint_activations, keep_activations, mark_encoder
from craft_kernels import deferred_finite_checks


class TrainingRun:
    """Models, optimiser and data of an adaptation, for any number of processes.

    The loss of a step is the same sum of the same terms, however its batch is cut: each part
    counts by its share of the images or, in the answer loss, of the answer tokens of all processes.
    """

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
        own = config.lambda_con == "task"
        self.lambda_con = domain.contrastive_weight if own else float(config.lambda_con)
        # Drawn in any case, so that the data's random numbers are the same for every method.
        head = ContrastiveHead(siglip, config.con_scale == "literal", self.batches.generator)
        if self.recipe.regularized and config.cls_attention == "full":
            tower.adopt_class_token(head.give_token())
        self.head = head if self.recipe.regularized and self.lambda_con > 0 else None
        models = Models(tower, surrogate, self.head)
        self.strategy = choose_strategy(config, accelerator)(models, config, accelerator)
        device = accelerator.device
        # What validates and is counted is encoded as what trains.
        tower.precision = config.hardware.encoding_on(device.type)
        self.texts = torch.zeros(len(domain.texts), 0, device=device)  # where nothing is contrasted
        if self.head is not None:
            tokenizer = text_tokenizer or surrogate.tokenizer
            self.texts = text_embeddings(siglip, tokenizer, domain.texts).to(device)
        self.anchor: FeatureAnchor | None = None
        self._moved = False
        self._attention: list[tuple[PreTrainedModel, str]] = []

    def prepare(self) -> None:
        """Choose what trains, put adapters in, and hand it to optimiser and processes."""
        config = self.config
        attention = available_attention(config.hardware.attention)
        for model in (self.tower, self.surrogate.language_model):
            self._attention.append((model, model.config._attn_implementation))
            model.set_attn_implementation(attention)
        if self.recipe.ldifs:
            self.anchor = FeatureAnchor(self.tower, config.ldifs)
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
        """Learning rates after so many steps. Not prepared: accelerate would advance it once a
        process."""
        warmup = round(self.config.warmup * self.steps)
        return get_cosine_schedule_with_warmup(
            self.strategy.base, warmup, self.steps, last_epoch=done - 1
        )

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Every weight that trains, by the name users know."""
        return self.strategy.trained

    def close(self) -> None:
        """Leave the models as they were but for their weights, also after a failure."""
        if self.anchor is not None:
            self.anchor.release()
        models = self.strategy.models
        if self.strategy.recomputes:
            keep_activations(models.tower, models.surrogate.language_model)
        for model, attention in self._attention:
            model.set_attn_implementation(attention)
        models.surrogate.eval()

    def frozen(self, models: Models) -> dict[str, nn.Module]:
        """The modules of which nothing may move."""
        parts: dict[str, tuple[str | None, nn.Module]] = {
            "language_model": ("language_model", models.surrogate.language_model),
            "projector": ("projector", models.surrogate.projector),
            "text_tower": (None, cast(Any, self.siglip).text_model),
        }
        if self.recipe.trains != "encoder":
            parts["encoder"] = ("encoder", models.tower)
        trained = str(self.recipe.trains).split("_and_")
        return {n: module for n, (part, module) in parts.items() if part not in trained}

    def terms(
        self, part: MicroBatch, tokens: float | Tensor, model: Any = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The loss terms of a part, such that averages over processes of sums over parts are the
        step's; and the quantisation error.

        Args:
            tokens: answer tokens of the step, over all processes, divided by their number.
            model: what sees the pixels; by default the strategy's.
        """
        config, models = self.config, self.strategy.models
        z, class_output = (model or self.strategy.model)(part.pixels)
        z = z.float()
        codes = quantize(z, self.tower.codebook) if self.recipe.quantized else None
        visual = z if codes is None else codes.quantized
        with self.strategy.autocast():
            answers = models.surrogate.answer_loss(visual, part.text, "sum")
        per = tokens
        if config.sal_reduction == "sample_sum":
            per = config.batch / self.accelerator.num_processes
        terms = {"sal": config.lambda_sal * answers / per}
        share = 1 / config.hardware.accumulate
        error = torch.zeros((), device=z.device)
        if codes is not None:
            distances = codes.residual_sq_norms
            error = distances.detach()[..., -1].mean() / z.detach().square().sum(-1).mean()
            if self.recipe.regularized:
                loss = commitment(distances, z.shape[-1], config.commit_levels)
                terms["commit"] = config.lambda_commit * loss * share
        if models.head is not None:
            assert class_output is not None
            loss = models.head(class_output.float(), part.texts, part.keys, part.place)
            terms["con"] = self.lambda_con * loss * share
        if self.anchor is not None:
            with self.strategy.autocast():
                distance = self.anchor.distance(part.pixels)
            terms["ldifs"] = config.ldifs.weight * distance * share
        return terms, error * share

    def gradients(self, first: bool) -> tuple[dict[str, float], dict[str, float]]:
        """Forward and backward passes of the next step: losses, and if asked, gradient norms.

        Raises:
            CraftError: a loss that is not finite.
        """
        strategy = self.strategy
        parts = micro_batches(self.batches, self.surrogate, self.texts, self.accelerator)
        tokens: float | Tensor = float(sum(part.answer_tokens for part in parts))
        if self.accelerator.num_processes > 1:
            tokens = strategy.average(torch.tensor(tokens, device=self.accelerator.device))
        found: list[dict[str, Tensor]] = []
        norms: dict[str, float] = {}
        strategy.zero_grad()
        if first:
            norms = strategy.term_norms(partial(self._preview, parts[0], tokens))
        with deferred_finite_checks():  # the device is busy with all parts before it is waited for
            for number, part in enumerate(parts, 1):
                with strategy.part(last=number == len(parts)):
                    terms, error = self.terms(part, tokens)
                    strategy.backward(torch.stack(list(terms.values())).sum())
                found.append({n: x.detach() for n, x in (terms | {"qerr": error}).items()})
        strategy.finish()
        return self._losses(found), norms

    def _losses(self, found: list[dict[str, Tensor]]) -> dict[str, float]:
        """A step's loss terms from those of its parts; the device is waited for once, here.

        Raises:
            CraftError: a part's loss that is not finite; the first such part is shown.
        """
        names = list(found[0])
        parts = torch.stack([torch.stack([part[name].float() for name in names]) for part in found])
        total = parts[0].clone()
        for part in parts[1:]:
            total += part
        mean = self.strategy.average(total)
        *rows, losses = torch.cat([parts, mean[None]]).tolist()
        for row in (*rows, losses):
            values = dict(zip(names, row, strict=True))
            error = values.pop("qerr")
            if not math.isfinite(sum(values.values())):
                raise CraftError(
                    f"the loss is not finite at step {self.schedule.last_epoch + 1}: {values}; "
                    f"lower lr (now {self.config.lr})"
                )
            values["qerr"] = error
        return dict(zip(names, losses, strict=True))

    def _preview(self, part: MicroBatch, tokens: float | Tensor, model: Any) -> dict[str, Tensor]:
        """A part's loss terms, which leave no trace in what is drawn."""
        with own_random_numbers(self.accelerator.device):
            return self.terms(part, tokens, model)[0]

    def step(self, first: bool = False) -> tuple[dict[str, float], dict[str, float]]:
        """One optimiser step; arguments, results and errors as for :meth:`gradients`."""
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
        """What adapters draw, dropout or scales, is drawn anew for each step and process, so that
        a resumed run draws the same."""
        if not any("lora_" in name or is_heba(name) for name in self.trained):
            return
        models = self.strategy.models
        stack.enter_context(train_dropout(models.tower, models.surrogate))
        rank, step = self.accelerator.process_index, self.schedule.last_epoch
        seed = (self.config.seed * 1_000_003 + step) * 1_009 + rank
        stack.enter_context(own_random_numbers(self.accelerator.device, seed))

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """All that changes in a run but the step's number, as tensors and JSON; whole on the main
        process, which needs the others for it."""
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
        """Put back what :meth:`state` took out.

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
