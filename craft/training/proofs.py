"""Proofs that what trains moves and that everything else stays frozen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.runtime.tensor_hash import tensor_hash
from craft.training.distributed.shards import local_part, max_over_processes


class MovementCheck:
    """Check that the optimiser's update changes the trained weights and no others.

    To be made between backward pass and update; :meth:`check` is called after the update.

    Args:
        trained: the optimiser's weights, which must move.
        gradients: theirs for the coming step; the optimiser may clear them.
        frozen: name -> module in which nothing may change. Torch itself counts in-place writes, so
            large models cost nothing; hashes at the end of training compare the values.
    """

    def __init__(
        self,
        trained: dict[str, nn.Parameter],
        frozen: dict[str, nn.Module],
        gradients: Mapping[str, Tensor | None],
    ):
        self._trained = trained
        self._missing = {name for name in trained if gradients[name] is None}
        self._gradients = _anywhere([_size(gradients[name]) for name in trained], trained)
        self._before = {name: local_part(p).clone() for name, p in trained.items()}
        mine = {id(p) for p in trained.values()}
        self._frozen = {
            f"{part}.{name}": tensor
            for part, module in frozen.items()
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]
            if id(tensor) not in mine
        }
        self._versions = {name: _version(x) for name, x in self._frozen.items()}

    def check(self) -> None:
        """Compare with the state before the optimiser's step.

        Raises:
            RuntimeError: weights that should have moved did not, or frozen ones did; names the
                first. A weight with a negligible gradient compared with the largest one may stay:
                biases of keys cancel in the softmax.
        """
        # Each process sees only its part of a sharded weight.
        sizes = [_size(p, self._before[name]) for name, p in self._trained.items()]
        moves = _anywhere(sizes, self._trained)
        noise = 1e-6 * max(self._gradients, default=0.0)
        still = [
            name
            for name, moved, gradient in zip(self._trained, moves, self._gradients, strict=True)
            if moved == 0 and (name in self._missing or gradient > noise)
        ]
        if still:
            raise RuntimeError(
                f"{len(still)} of {len(self._trained)} weights that train did not move in the "
                f"first step, first {still[0]!r}: either no gradient reaches them, or lr is too "
                "small to change them at their precision"
            )
        moved = [
            name
            for name, x in self._frozen.items()
            if _version(x) != self._versions[name] or (x.grad is not None and x.is_leaf)
        ]
        if moved:
            raise RuntimeError(
                f"{len(moved)} frozen tensors were written to or given a gradient in the first "
                f"step, first {moved[0]!r}; only the listed weights may train"
            )
        self._before.clear()


def _size(tensor: Tensor | None, origin: Tensor | None = None) -> float:
    """Largest distance of this process's part from ``origin``, by default zero."""
    mine = None if tensor is None else local_part(tensor)
    if mine is None or not mine.numel():
        return 0.0
    return float((mine if origin is None else mine - origin).abs().max())


def _anywhere(sizes: list[float], trained: dict[str, nn.Parameter]) -> list[float]:
    """Maximum over processes, reduced on the device of the trained weights."""
    device = next(iter(trained.values())).device
    return max_over_processes(torch.tensor(sizes, device=device)).tolist()


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


class FrozenProof:
    """Hashes frozen modules and the codebook now; :meth:`check` compares them later.

    Args:
        codebook: verified against its own fingerprint.
        modules: name -> module whose parameters and buffers must all stay unchanged.

    Raises:
        CraftError: a module still has parameters that require gradients.
    """

    def __init__(self, codebook: Codebook, **modules: nn.Module):
        for name, module in modules.items():
            loose = [key for key, p in module.named_parameters() if p.requires_grad]
            if loose:
                raise CraftError(
                    f"{name} must be frozen but {len(loose)} of its parameters require gradients, "
                    f"first {loose[0]!r}; call requires_grad_(False) on it"
                )
        self._codebook = codebook
        self._modules = modules
        self.hashes = self._hash()

    def _hash(self) -> dict[str, str]:
        hashes = {name: tensor_hash(module.state_dict()) for name, module in self._modules.items()}
        self._codebook.verify()
        return {**hashes, "codebook": self._codebook.fingerprint}

    def check(self) -> dict[str, str]:
        """Return the hashes, if nothing changed.

        Raises:
            RuntimeError: something changed; names it, with both hashes.
        """
        now = self._hash()
        moved = [name for name in now if now[name] != self.hashes[name]]
        if moved:
            changes = ", ".join(f"{n}: {self.hashes[n]} -> {now[n]}" for n in moved)
            raise RuntimeError(f"frozen parts changed during training: {changes}")
        return now
