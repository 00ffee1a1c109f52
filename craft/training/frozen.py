"""Proof that what must not move did not move."""

from __future__ import annotations

from torch import nn

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.runtime.tensor_hash import tensor_hash


class FrozenProof:
    """Hashes frozen modules and the codebook now; :meth:`check` compares them later.

    Args:
        codebook: verified against its own fingerprint.
        modules: name -> module whose every parameter and buffer must stay as it is.

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
        """The hashes, if nothing moved.

        Raises:
            RuntimeError: names what moved, with both hashes.
        """
        now = self._hash()
        moved = [name for name in now if now[name] != self.hashes[name]]
        if moved:
            changes = ", ".join(f"{n}: {self.hashes[n]} -> {now[n]}" for n in moved)
            raise RuntimeError(f"frozen parts changed during training: {changes}")
        return now
