"""One method of one quantiser, replaced on the instance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import nn

from craft.errors import CraftError


class TrainedCodebookError(CraftError):
    """The codebook is being trained, so that codes would be of codewords that are about to move."""


class Replacement(ABC):
    """Base of what is put in the place of a quantiser's method.

    The quantiser's own tables are the codebook. Nothing is kept of them that is not read again when
    they change, so the patched model may be moved, converted and loaded again.
    """

    method: ClassVar[str]  # of the quantiser, and of the subclass, which has it under this name

    def __init__(self, quantizer: nn.Module, path: str) -> None:
        self.quantizer: Any = quantizer
        self.path = path
        self._before: Callable[..., Any] | None = None

    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Levels, codewords of a level, numbers of a codeword; reads no codewords."""

    @abstractmethod
    def training_reason(self) -> str | None:
        """Why the codebook is about to move, and the way out; None if it stays."""

    def require_still(self) -> None:
        """Raises TrainedCodebookError if the codebook is being trained."""
        reason = self.training_reason()
        if reason is not None:
            raise TrainedCodebookError(f"the codebook of {self.path} is being trained: {reason}")

    @property
    def ours(self) -> Callable[..., Any]:
        return getattr(self, self.method)

    @property
    def in_place(self) -> bool:
        return vars(self.quantizer).get(self.method) == self.ours

    def put_on(self) -> None:
        self._before = vars(self.quantizer).get(self.method)
        setattr(self.quantizer, self.method, self.ours)

    def take_off(self) -> None:
        del vars(self.quantizer)[self.method]
        if self._before is not None:
            setattr(self.quantizer, self.method, self._before)


def replacement_on(quantizer: nn.Module) -> Replacement | None:
    """What replaces a method of this quantiser now."""
    for value in vars(quantizer).values():
        owner = getattr(value, "__self__", None)
        if isinstance(owner, Replacement) and owner.quantizer is quantizer:
            return owner
    return None
