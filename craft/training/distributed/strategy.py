"""How a training step is carried out: by one process, or by several that share it.

:class:`Strategy` is for processes that each have all weights; its subclasses share weights or the
optimiser's state out. The rest of the trainer does not know which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from craft.models.aligned_language_model import AlignedLanguageModel
from craft.models.vision_tower import DiscreteVisionTower
from craft.settings.training import CraftConfig
from craft.training.distributed.optimizer_state import (
    make_optimizer,
    pack_optimizer,
    unpack_optimizer,
)
from craft.training.objective import ContrastiveHead, gradient_norms
from craft.training.trainee import Trainee


class Models(NamedTuple):
    """What a step runs through."""

    tower: DiscreteVisionTower
    surrogate: AlignedLanguageModel
    head: ContrastiveHead | None


class Strategy:
    """One process, or several under DistributedDataParallel.

    Args:
        models: as they were passed in; the tower goes to the device at once, where it is validated.
            What is to train is marked before :meth:`prepare`.

    Attributes:
        models: what a step runs through; those passed in, or copies that do the work for them.
        model: called with pixels, a :class:`~craft.training.trainee.Trainee`'s forward pass.
        trained: every weight that trains, by the name users know.
        base: the optimiser itself, whose groups a schedule changes.
    """

    name = "replicated"
    model: Any = None
    base: torch.optim.Optimizer

    def __init__(self, models: Models, config: CraftConfig, accelerator: Accelerator):
        self.passed = self.models = models
        self.config = config
        self.accelerator = accelerator
        self.trained: dict[str, nn.Parameter] = {}
        self._homes: list[tuple[nn.Module, torch.device]] = [
            (model, next(model.parameters()).device) for model in (models.tower, models.surrogate)
        ]
        models.tower.to(accelerator.device)

    def prepare(self) -> None:
        """Place the models and make the optimiser of what trains."""
        self.place()
        self.trainee = Trainee(*self.models)
        self.inner = InnerAutocast(self.trainee, self.autocast)
        self.trained = self.trainee.trained()
        if self.trained:
            self.base = make_optimizer(self.trainee.groups(self.config), self.config)
            self.wrap()

    def place(self) -> None:
        """Bring what a step runs through to the device."""
        self.models.surrogate.to(self.accelerator.device)

    def wrap(self) -> None:
        """Make the processes' steps one."""
        self.model, self.optimizer = self.accelerator.prepare(self.trainee, self.base)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of products, as ``hardware.precision`` has it."""
        return self.accelerator.autocast()

    @property
    def recomputes(self) -> bool:
        """Whether the backward pass computes activations again, by block."""
        return self.config.hardware.grad_checkpoint

    @contextmanager
    def part(self, last: bool) -> Generator[None]:
        """Around forward and backward pass of a part of the step."""
        with nullcontext() if last else self.accelerator.no_sync(self.model):
            yield

    def zero_grad(self) -> None:
        """Before the first part."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""
        self.accelerator.backward(loss)

    def finish(self) -> None:
        """After the last part: from here on gradients are averages over processes."""

    def gradients(self) -> dict[str, Tensor | None]:
        """Gradients of ``trained``, or this process's parts of them."""
        return {name: p.grad for name, p in self.trained.items()}

    def term_norms(self, terms: Callable[[Any], dict[str, Tensor]]) -> dict[str, float]:
        """Norm of each loss term's gradient on what was pretrained; before the first part, so that
        there is never more than one graph.

        Args:
            terms: computes them through a model that is given.
        """
        # Not through ``model``, which would take this for the step's own pass.
        return gradient_norms(terms(self.inner), self.pretrained, self.average)

    @property
    def pretrained(self) -> list[nn.Parameter]:
        """What trains, but for the contrastive loss's own weights."""
        return [p for name, p in self.trained.items() if not name.startswith("contrastive.")]

    def average(self, value: Tensor) -> Tensor:
        """Mean over processes."""
        if self.accelerator.num_processes == 1:
            return value
        return cast(Tensor, self.accelerator.reduce(value, "mean"))

    def step(self) -> bool:
        """Clip gradients and update weights; False if a loss scale was too large for that."""
        self.accelerator.clip_grad_norm_(list(self.trained.values()), self.config.clip)
        self.optimizer.step()
        return not self.optimizer.step_was_skipped

    def publish(self) -> None:
        """Give the models that were passed in what others have learnt for them."""

    def close(self) -> None:
        """Put the models that were passed in back where they were, and let go of all else."""
        self.models, self.model, self.trained = self.passed, None, {}
        for name in ("trainee", "inner", "base", "optimizer"):
            self.__dict__.pop(name, None)
        for model, device in self._homes:
            model.to(device)

    def weights(self) -> dict[str, Tensor]:
        """What ``trained`` holds, whole; all processes must ask for it."""
        return {name: p.detach() for name, p in self.trained.items()}

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state, whole, on the main process; all processes must ask for it."""
        return pack_optimizer(self.base, self.trained, keep=self.accelerator.is_main_process)

    def restore(self, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        """Put back trained weights and what :meth:`moments` took out."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])
        unpack_optimizer(self.base, self.trained, moments)


class InnerAutocast(nn.Module):
    """A module with autocast inside: on GPUs DeepSpeed switches off one that is around it."""

    def __init__(self, module: nn.Module, autocast: Callable[[], AbstractContextManager[Any]]):
        super().__init__()
        self.module = module
        self._autocast = autocast

    def forward(self, *inputs: Tensor) -> Any:
        with self._autocast():
            return self.module(*inputs)
