"""DeepSpeed's ZeRO 1 and 2, chosen by an accelerate config.

The optimiser's state, and with ZeRO 2 the gradients too, are sharded over processes; every process
has all weights. DeepSpeed clips, steps and clears gradients itself, and keeps moments in one flat
tensor per optimiser group. Here moments are saved and restored by weight name, so that checkpoints
are the same as those of every other strategy.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from accelerate import DeepSpeedPlugin
from accelerate.utils import is_deepspeed_available, parse_flag_from_env
from torch import Tensor, nn

from craft.errors import CraftError, MissingPackageError
from craft.settings.training import CraftConfig
from craft.training.distributed.optimizer_state import by_weight
from craft.training.distributed.strategy import Strategy

_PRECISIONS = ("bf16", "fp16", "amp", "torch_autocast")


def launched() -> bool:
    """Whether an accelerate config of type DEEPSPEED started this process."""
    return parse_flag_from_env("ACCELERATE_USE_DEEPSPEED")


def plugin(config: CraftConfig, processes: int) -> DeepSpeedPlugin:
    """The accelerate config's DeepSpeed settings, with this run's batch and clipping.

    Raises:
        ImportError: DeepSpeed is not installed.
        CraftError: see :func:`require_supported`.
    """
    if not is_deepspeed_available():
        raise MissingPackageError(
            "an accelerate config of type DEEPSPEED needs DeepSpeed, which is not installed; "
            "pip install 'deepspeed>=0.19.8,<0.20'"
        )
    found = DeepSpeedPlugin()
    settings: Any = found.deepspeed_config
    require_supported(settings, config)
    settings.update(
        train_batch_size=config.batch,
        train_micro_batch_size_per_gpu=config.batch // processes,
        gradient_accumulation_steps=1,  # parts are weighted and summed here
        gradient_clipping=config.clip,
    )
    return found


def require_supported(settings: dict[str, Any], config: CraftConfig) -> None:
    """Raise CraftError for unsupported DeepSpeed settings.

    These are stages other than 1 and 2, offloading, and DeepSpeed's own optimiser, schedule or
    precision, as well as ``hardware.shard`` or fp16 together with DeepSpeed.
    """
    zero = settings.get("zero_optimization") or {}
    stage = zero.get("stage", 0)
    if stage not in (1, 2):
        raise CraftError(
            f"ZeRO stage {stage} is not supported: use zero_stage 1 or 2, or, to shard weights "
            "too, an accelerate config with fsdp_version 2"
        )
    for key in ("offload_optimizer", "offload_param"):
        device = (zero.get(key) or {}).get("device", "none")
        if device not in ("none", None):
            raise CraftError(f"{key} to {device} is not supported; remove it")
    own = [key for key in ("optimizer", "scheduler") if key in settings]
    own += [key for key in _PRECISIONS if (settings.get(key) or {}).get("enabled") is True]
    if own:
        raise CraftError(
            f"the DeepSpeed config sets {', '.join(own)}; remove that: optimiser, learning rate "
            "and precision are CRAFT's settings (optimizer, lr, hardware.precision)"
        )
    if config.hardware.shard or config.hardware.precision == "fp16":
        setting = "shard=true" if config.hardware.shard else "precision=fp16"
        raise CraftError(f"hardware.{setting} cannot be used with DeepSpeed; remove it")


class ZeroStrategy(Strategy):
    """ZeRO 1 or 2."""

    name = "zero"
    _engine: Any = None

    def wrap(self) -> None:
        self.model, _ = self.accelerator.prepare(self.inner, self.base)
        wrapped: Any = self.accelerator.deepspeed_engine_wrapped
        self._engine = wrapped.engine

    def autocast(self) -> AbstractContextManager[Any]:
        # Accelerate does not autocast under DeepSpeed.
        kind = self.accelerator.device.type
        half = self.config.hardware.products_on(kind) == "bf16"
        return torch.autocast(kind, torch.bfloat16, enabled=half)

    @contextmanager
    def part(self, last: bool) -> Generator[None]:
        self._engine.set_gradient_accumulation_boundary(last)
        yield

    def zero_grad(self) -> None:
        pass  # a step leaves no gradients

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss, scale_wrt_gas=False)

    def gradients(self) -> dict[str, Tensor | None]:
        return {name: _utils().safe_get_full_grad(p) for name, p in self.trained.items()}

    def step(self) -> bool:
        self._engine.step()
        return True

    def close(self) -> None:
        if self._engine is not None:  # its hooks on the weights would keep it and its buffers alive
            self._engine.destroy()
            self._engine = None
        super().close()

    def moments(self) -> dict[str, Tensor]:
        self._link()
        names = {id(p): name for name, p in self.trained.items()}
        tensors: dict[str, Tensor] = {}
        for parameters, flat in self._groups():
            for what, value in self.base.state[flat].items():
                for p in parameters:
                    cut = value.shape == flat.shape  # not the step count
                    full = _utils().safe_get_full_optimizer_state(p, what) if cut else value
                    if self.accelerator.is_main_process:
                        tensors[f"{names[id(p)]}.{what}"] = full.detach().cpu().clone()
        return tensors

    def restore(self, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        names = {id(p): name for name, p in self.trained.items()}
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(weights[name])
                _utils().safe_set_full_fp32_param(p, weights[name].to(p.device))
        states = by_weight(moments)
        for parameters, flat in self._groups():
            self.base.state[flat] = {
                what: torch.zeros_like(flat) if value.dim() else value.clone()
                for what, value in states[names[id(parameters[0])]].items()
            }
        self._link()
        for name, p in self.trained.items():
            for what, value in states[name].items():
                if value.dim():
                    _utils().safe_set_full_optimizer_state(p, value.to(p.device), what)

    def _groups(self) -> list[tuple[list[nn.Parameter], Tensor]]:
        """The optimiser's groups: their weights, and this process's flat shard of them."""
        zero = self._engine.optimizer
        return list(zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True))

    def _link(self) -> None:
        """Link weights to their moments, which DeepSpeed does for the first group only."""
        for parameters, flat in self._groups():
            _utils().lazy_init_hp_params_optimizer_state(parameters, flat, self.base.state)


def _utils() -> Any:
    return importlib.import_module("deepspeed.utils")  # optional, and slow to import
