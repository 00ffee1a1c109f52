"""One adaptation under way: a step of it, and what is needed to go on with it elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipModel,
    get_cosine_schedule_with_warmup,
)

from craft.adapters.installation import is_heba
from craft.data.dialogues import IGNORE, TextBatch
from craft.data.question_domain import AnyDomain, QuestionDomain
from craft.data.questions import Lesson
from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.attention import available_attention
from craft.models.vision_tower import DiscreteVisionTower
from craft.quantize import commitment, quantize
from craft.training.batches import DataState, DomainBatches
from craft.training.config import CraftConfig
from craft.training.ldifs import FeatureAnchor
from craft.training.lora import inject_lora, train_dropout
from craft.training.methods import METHODS
from craft.training.movement import MovementCheck
from craft.training.objective import ContrastiveHead, gradient_norms, text_embeddings
from craft.training.optimizer_state import make_optimizer, pack_optimizer, unpack_optimizer
from craft.training.trainee import Trainee, checkpoint_activations, keep_activations, mark_encoder


class MicroBatch(NamedTuple):
    """What a process works on at once: a part of a step's images with their texts."""

    pixels: Tensor  # [b, 3, S, S] in [-1, 1]
    text: TextBatch
    texts: Tensor  # [B, D]: contrastive texts of the whole step, or of this part
    keys: Tensor  # [B, n]
    place: slice  # which of those belong to these images


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
        domain: AnyDomain,
        config: CraftConfig,
        accelerator: Accelerator,
        text_tokenizer: PreTrainedTokenizerBase | None = None,
    ):
        self.config = config
        self.method = METHODS[config.method]
        self.accelerator = accelerator
        self.tower = tower
        self.surrogate = surrogate
        self.siglip = siglip.requires_grad_(False)
        self.steps = config.step_count(domain.lessons)
        self.batches = DomainBatches(domain, tower.image_size, config)
        task = 0.1 if isinstance(domain, QuestionDomain) else 1.0
        self.lambda_con = task if config.lambda_con == "task" else config.lambda_con
        # Drawn in any case, so that the data's random numbers are the same for every method.
        head = ContrastiveHead(siglip, config.con_scale == "literal", self.batches.generator)
        if self.method.regularized and config.cls_attention == "full":
            tower.adopt_class_token(head.give_token())
        self.head = head if self.method.regularized and self.lambda_con > 0 else None
        device = accelerator.device
        self.texts = torch.zeros(len(domain.texts), 0, device=device)  # where nothing is contrasted
        if self.head is not None:
            tokenizer = text_tokenizer or surrogate.tokenizer
            self.texts = text_embeddings(siglip, tokenizer, domain.texts).to(device)
        self.anchor: FeatureAnchor | None = None
        self.trained: dict[str, nn.Parameter] = {}
        self._moved = False
        self._attention: list[tuple[PreTrainedModel, str]] = []

    def prepare(self) -> None:
        """Choose what trains, put adapters in, and hand it to optimiser and processes."""
        config, device = self.config, self.accelerator.device
        self.surrogate.to(device)
        self.tower.to(device)
        attention = available_attention(config.hardware.attention)
        for model in (self.tower, self.surrogate.language_model):
            self._attention.append((model, model.config._attn_implementation))
            model.set_attn_implementation(attention)
        if self.method.ldifs:
            self.anchor = FeatureAnchor(self.tower, config.ldifs)
        mark_encoder(self.tower, config)
        trains = self.method.trains
        if trains == "language_model":
            model = self.surrogate.language_model
            inject_lora(model, config.lora, config.seed, encoder=False)
        if trains == "reader":
            self.surrogate.language_model.requires_grad_(True)
        self.surrogate.projector.requires_grad_(trains in ("projector", "reader"))
        extra = {n: p for n, p in self.surrogate.named_parameters() if p.requires_grad}
        self.trainee = Trainee(self.tower, self.head, extra)
        if config.hardware.grad_checkpoint:
            checkpoint_activations(self.tower, self.surrogate.language_model)
        self.trained = self.trainee.trained()
        if not self.trained:
            return
        self.tower.train(trains == "encoder")
        optimizer = make_optimizer(self.trainee.groups(config), config)
        self.model, self.optimizer = self.accelerator.prepare(self.trainee, optimizer)
        # Not prepared: accelerate would advance it once a process.
        self.schedule = get_cosine_schedule_with_warmup(
            optimizer, round(config.warmup * self.steps), self.steps
        )

    def close(self) -> None:
        """Leave the models as they were but for their weights, also after a failure."""
        if self.anchor is not None:
            self.anchor.release()
        if self.config.hardware.grad_checkpoint:
            keep_activations(self.tower, self.surrogate.language_model)
        for model, attention in self._attention:
            model.set_attn_implementation(attention)
        self.surrogate.eval()

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The modules of which nothing may move."""
        parts: dict[str, tuple[str | None, nn.Module]] = {
            "language_model": ("language_model", self.surrogate.language_model),
            "projector": ("projector", self.surrogate.projector),
            "text_tower": (None, cast(Any, self.siglip).text_model),
        }
        if self.method.trains != "encoder":
            parts["encoder"] = ("encoder", self.tower)
        trains = self.method.trains
        trained = ("projector", "language_model") if trains == "reader" else (trains,)
        return {n: module for n, (part, module) in parts.items() if part not in trained}

    def micro_batches(self) -> list[MicroBatch]:
        """This process's parts of the next step."""
        lessons = self.batches.lessons()
        share = len(lessons) // self.accelerator.num_processes
        first = share * self.accelerator.process_index
        device = self.accelerator.device
        images = self.batches.images(lessons, slice(first, first + share)).to(device)
        said, keys = self._contrastive(lessons)
        size = share // self.config.hardware.accumulate
        parts = []
        for start in range(0, share, size):
            place = slice(first + start, first + start + size)
            text = self.batches.text(lessons[place], self.surrogate)
            pixels = images[start : start + size] * 2 - 1
            if self.config.negatives == "local":
                parts.append(MicroBatch(pixels, text, said[place], keys[place], slice(None)))
            else:
                parts.append(MicroBatch(pixels, text, said, keys, place))
        return parts

    def _contrastive(self, lessons: list[Lesson]) -> tuple[Tensor, Tensor]:
        said = self.texts[[lesson.text for lesson in lessons]]
        return said, torch.tensor([lesson.keys for lesson in lessons], device=said.device)

    def terms(self, part: MicroBatch, tokens: float) -> tuple[dict[str, Tensor], Tensor]:
        """The loss terms of a part, such that averages over processes of sums over parts are the
        step's; and the quantisation error.

        Args:
            tokens: answer tokens of the step, over all processes, divided by their number.
        """
        config = self.config
        z, class_output = self.model(part.pixels)
        codes = quantize(z.float(), self.tower.codebook) if self.method.quantized else None
        visual = z if codes is None else codes.quantized
        with self.accelerator.autocast():
            answers = self.surrogate.answer_loss(visual, part.text, "sum")
        per = tokens
        if config.sal_reduction == "sample_sum":
            per = config.batch / self.accelerator.num_processes
        terms = {"sal": config.lambda_sal * answers / per}
        share = 1 / config.hardware.accumulate
        error = torch.zeros((), device=z.device)
        if codes is not None:
            distances = codes.residual_sq_norms
            error = distances.detach()[..., -1].mean() / z.detach().square().sum(-1).mean()
            if self.method.regularized:
                loss = commitment(distances, z.shape[-1], config.commit_levels)
                terms["commit"] = config.lambda_commit * loss * share
        if self.head is not None:
            assert class_output is not None
            loss = self.head(class_output.float(), part.texts, part.keys, part.place)
            terms["con"] = self.lambda_con * loss * share
        if self.anchor is not None:
            terms["ldifs"] = config.ldifs.weight * self.anchor.distance(part.pixels) * share
        return terms, error * share

    def gradients(self, first: bool) -> tuple[dict[str, float], dict[str, float]]:
        """Forward and backward passes of the next step: losses, and if asked, gradient norms.

        Raises:
            RuntimeError: a loss that is not finite.
        """
        parts = self.micro_batches()
        tokens = self._answer_tokens(parts)
        totals: dict[str, Tensor] = {}
        norms: dict[str, float] = {}
        self.optimizer.zero_grad(set_to_none=True)
        for number, part in enumerate(parts, 1):
            with ExitStack() as stack:
                if number < len(parts):
                    stack.enter_context(self.accelerator.no_sync(self.model))
                terms, error = self.terms(part, tokens)
                if first and number == 1:
                    pretrained = [
                        p for n, p in self.trained.items() if not n.startswith("contrastive.")
                    ]
                    norms = gradient_norms(terms, pretrained, self._average)
                loss = torch.stack(list(terms.values())).sum()
                if not loss.isfinite():
                    values = {name: term.item() for name, term in terms.items()}
                    raise RuntimeError(
                        f"the loss is not finite at step {self.schedule.last_epoch + 1}: {values}; "
                        f"lower lr (now {self.config.lr})"
                    )
                self.accelerator.backward(loss)
            for name, value in (terms | {"qerr": error}).items():
                totals[name] = totals.get(name, 0) + value.detach()
        losses = {name: self._average(value).item() for name, value in totals.items()}
        return losses, norms

    def step(self, first: bool = False) -> tuple[dict[str, float], dict[str, float]]:
        """One optimiser step; arguments, results and errors as for :meth:`gradients`."""
        with ExitStack() as stack:
            self._seed_dropout(stack)
            result = self.gradients(first)
            check = None
            if not self._moved and self.schedule.get_last_lr()[0] > 0:
                check = MovementCheck(self.trained, self.frozen | {"encoder": self.tower})
            self.accelerator.clip_grad_norm_(list(self.trained.values()), self.config.clip)
            self.optimizer.step()
        if check is not None and not self.optimizer.step_was_skipped:
            check.check()
            self._moved = True
        self.schedule.step()
        return result

    def _seed_dropout(self, stack: ExitStack) -> None:
        """What adapters draw, dropout or scales, is drawn anew for each step and process, so that
        a resumed run draws the same."""
        if not any("lora_" in name or is_heba(name) for name in self.trained):
            return
        train_dropout(self.tower)
        train_dropout(self.surrogate)
        stack.enter_context(torch.random.fork_rng())
        rank, step = self.accelerator.process_index, self.schedule.last_epoch
        torch.manual_seed((self.config.seed * 1_000_003 + step) * 1_009 + rank)

    def _answer_tokens(self, parts: list[MicroBatch]) -> float:
        labels = [cast(Tensor, part.text.labels) for part in parts]
        mine = sum(int((x != IGNORE).sum()) for x in labels)
        return float(self._average(torch.tensor(float(mine), device=self.accelerator.device)))

    def _average(self, value: Tensor) -> Tensor:
        if self.accelerator.num_processes == 1:
            return value
        return cast(Tensor, self.accelerator.reduce(value, "mean"))

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """All that changes in a run, as tensors and JSON."""
        moments, groups = pack_optimizer(self.optimizer)
        data = self.batches.state()
        scaler = self.accelerator.scaler
        tensors = {
            "weights": {name: p.detach() for name, p in self.trained.items()},
            "optimizer": moments,
            "data": {"generator": data.generator},
        }
        return tensors, {
            "groups": groups,
            "schedule": self.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "rng": data.rng,
            "queue": data.queue,
        }

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Put back what :meth:`state` took out.

        Raises:
            ValueError: the checkpoint trains other weights than this run.
        """
        weights = tensors["weights"]
        if set(weights) != set(self.trained):
            other = sorted(set(weights) ^ set(self.trained))
            raise ValueError(
                f"the checkpoint and this run do not train the same weights; {other[0]!r} is only "
                "in one of them"
            )
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])
        unpack_optimizer(self.optimizer, tensors["optimizer"], state["groups"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.batches.restore(DataState(tensors["data"]["generator"], state["rng"], state["queue"]))
