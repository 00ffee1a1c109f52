"""How a training step is carried out, by one process or by several that share it.

With :class:`Strategy` each process has all weights; its subclasses shard the weights or the
optimiser's state. The rest of the trainer does not know which one is used.
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
    """The models that a step runs through."""

    tower: DiscreteVisionTower
    surrogate: AlignedLanguageModel
    head: ContrastiveHead | None


class Strategy:
    """One process, or several under DistributedDataParallel.

    Args:
        models: as passed in; the tower is moved at once to the device, where it is validated. The
            caller marks what trains before :meth:`prepare`.

    Attributes:
        models: what a step runs through: the models passed in, or working copies of them.
        model: forward pass of a :class:`~craft.training.trainee.Trainee`, called with pixels.
        trained: every weight that trains, by its name for users.
        base: the plain optimiser, whose groups the schedule changes.
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
        """Move what a step runs through to the device."""
        self.models.surrogate.to(self.accelerator.device)

    def wrap(self) -> None:
        """Join the processes' steps into one."""
        self.model, self.optimizer = self.accelerator.prepare(self.trainee, self.base)

    def autocast(self) -> AbstractContextManager[Any]:
        """Autocast to the precision of products that ``hardware.precision`` sets."""
        return self.accelerator.autocast()

    @property
    def recomputes(self) -> bool:
        """Whether the backward pass recomputes activations block by block."""
        return self.config.hardware.grad_checkpoint

    @contextmanager
    def part(self, last: bool) -> Generator[None]:
        """Context around the forward and backward pass of one part of the step."""
        with nullcontext() if last else self.accelerator.no_sync(self.model):
            yield

    def zero_grad(self) -> None:
        """Clear the gradients, before the first part."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those of earlier parts."""
        self.accelerator.backward(loss)

    def finish(self) -> None:
        """Make gradients averages over processes, after the last part."""

    def gradients(self) -> dict[str, Tensor | None]:
        """Gradients of ``trained``, or this process's shards of them."""
        return {name: p.grad for name, p in self.trained.items()}

    def term_norms(self, terms: Callable[[Any], dict[str, Tensor]]) -> dict[str, float]:
        """Norm of each loss term's gradient with respect to the pretrained weights.

        To be called before the first part, so that there is never more than one graph.

        Args:
            terms: computes the loss terms through a given model.
        """
        # Not through ``model``, which would take this for the step's own pass.
        return gradient_norms(terms(self.inner), self.pretrained, self.average)

    @property
    def pretrained(self) -> list[nn.Parameter]:
        """The weights that train, except those of the contrastive head."""
        return [p for name, p in self.trained.items() if not name.startswith("contrastive.")]

    def average(self, value: Tensor) -> Tensor:
        """Mean over processes."""
        if self.accelerator.num_processes == 1:
            return value
        return cast(Tensor, self.accelerator.reduce(value, "mean"))

    def step(self) -> bool:
        """Clip gradients and update weights; False if too large a loss scale prevented it."""
        self.accelerator.clip_grad_norm_(list(self.trained.values()), self.config.clip)
        self.optimizer.step()
        return not self.optimizer.step_was_skipped

    def publish(self) -> None:
        """Copy the trained weights into the models that were passed in."""

    def close(self) -> None:
        """Move the models that were passed in back to their devices and release everything else."""
        self.models, self.model, self.trained = self.passed, None, {}
        for name in ("trainee", "inner", "base", "optimizer"):
            self.__dict__.pop(name, None)
        for model, device in self._homes:
            model.to(device)

    def weights(self) -> dict[str, Tensor]:
        """Values of ``trained``, whole; every process must call this."""
        return {name: p.detach() for name, p in self.trained.items()}

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state, whole, on the main process; every process must call this."""
        return pack_optimizer(self.base, self.trained, keep=self.accelerator.is_main_process)

    def restore(self, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        """Restore trained weights and the state from :meth:`moments`."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])
        unpack_optimizer(self.base, self.trained, moments)


class InnerAutocast(nn.Module):
    """A module with autocast inside, because on GPUs DeepSpeed disables autocast around it."""

    def __init__(self, module: nn.Module, autocast: Callable[[], AbstractContextManager[Any]]):
        super().__init__()
        self.module = module
        self._autocast = autocast

    def forward(self, *inputs: Tensor) -> Any:
        with self._autocast():
            return self.module(*inputs)
