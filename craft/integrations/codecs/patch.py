"""Exact codes in a loaded model of transformers that quantises; reversible."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from torch import nn

from craft.errors import CraftError
from craft.integrations.codecs.known import replacement_for
from craft.integrations.codecs.replacement import Replacement, replacement_on


@dataclass(frozen=True)
class Replaced:
    """A quantiser whose codes are exact now."""

    path: str  # in the model
    quantizer: str  # name of its class
    method: str
    levels: int
    size: int  # K, the codewords of a level
    dim: int

    def __str__(self) -> str:
        return (
            f"{self.path} ({self.quantizer}.{self.method}): {self.levels} x {self.size} codewords "
            f"of {self.dim} numbers"
        )


@dataclass(frozen=True)
class LeftAlone:
    """A quantiser that goes on as before."""

    path: str
    quantizer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} ({self.quantizer}): {self.reason}"


class UnsupportedModelError(CraftError):
    """The model holds no quantiser that can be replaced."""


def patch(model: nn.Module) -> Handle:
    """Replace the search for nearest codewords in a model of transformers by an exact one.

    Codes are those of real arithmetic, whatever the dtype of the features, the batch they come in
    or the machine, and are found several times faster than by the models' own formulas. Everything
    around the search stays: streaming, padding masks, levels or bandwidth at run time, decoding,
    and gradients where the model trains through its quantiser.

    Known are Mimi (also inside Moshi, CSM, Kyutai speech-to-text and subclasses), EnCodec (also
    inside MusicGen), X-Codec, DAC, HiggsAudio's tokenizer, Chameleon, Emu3, Janus and GLM-Image.
    What ``model`` holds
    besides is left alone and named. Only this instance changes, by attributes that ``unpatch``
    takes off again.

    Args:
        model: a model that holds a quantiser somewhere, or a quantiser.

    Returns:
        A handle that says what was replaced; also a context manager that unpatches at its end.

    Raises:
        UnsupportedModelError: no quantiser in it can be replaced.
        TrainedCodebookError: a codebook is being trained. Encoding raises it too.
        CraftError: the model, or a part of it, is patched already.
    """
    found = _survey(model)
    if found.patched:
        first = found.patched[0]
        raise CraftError(
            f"{first.path} ({type(first.quantizer).__name__}) is patched already; call unpatch() "
            "of its handle first, or handle_of(model).unpatch()"
        )
    if not found.replacements:
        others = "; ".join(map(str, found.left_alone))
        raise UnsupportedModelError(
            f"{type(model).__name__} holds no quantiser that can be replaced"
            f"{f' (left alone: {others})' if others else ''}; pass a model with a quantiser of "
            "Mimi, EnCodec, X-Codec, DAC, HiggsAudio, Chameleon, Emu3, Janus or GLM-Image"
        )
    for replacement in found.replacements:
        replacement.require_still()
    for replacement in found.replacements:
        replacement.put_on()
    return Handle(model, found.replacements, found.left_alone)


def handle_of(model: nn.Module) -> Handle | None:
    """The handle of a patched model, as of a deep copy of one; None if it is not patched."""
    found = _survey(model)
    return Handle(model, found.patched, found.left_alone) if found.patched else None


class _Survey(NamedTuple):
    patched: list[Replacement]
    replacements: list[Replacement]  # that could be put on
    left_alone: list[LeftAlone]


def _survey(model: nn.Module) -> _Survey:
    survey = _Survey([], [], [])
    inside = None  # of a quantiser that has been dealt with
    for name, module in model.named_modules():
        if inside is not None and name.startswith(inside):
            continue
        path = name or "the model"
        found = replacement_on(module)
        if found is not None:
            survey.patched.append(found)
        else:
            found = replacement_for(module, path)
            if found is None:
                continue
            if isinstance(found, str):
                survey.left_alone.append(LeftAlone(path, type(module).__name__, found))
            else:
                survey.replacements.append(found)
        inside = f"{name}." if name else ""
    return survey


class Handle:
    """A patched model; made by :func:`patch`."""

    def __init__(
        self,
        model: nn.Module,
        replacements: list[Replacement],
        left_alone: list[LeftAlone],
    ) -> None:
        self.model = model
        self.replaced = tuple(_describe(replacement) for replacement in replacements)
        self.left_alone = tuple(left_alone)
        self._replacements = list(replacements)

    def unpatch(self) -> None:
        """Give the model back as it was; a second call does nothing.

        Raises:
            CraftError: something else has been put over the patch since.
        """
        for replacement in self._replacements:
            if not replacement.in_place:
                raise CraftError(
                    f"{replacement.path}.{replacement.method} was replaced again after patch(); "
                    "undo that first"
                )
        for replacement in self._replacements:
            replacement.take_off()
        self._replacements.clear()

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unpatch()

    def __repr__(self) -> str:
        state = "exact codes" if self._replacements else "unpatched"
        lines = [f"{type(self.model).__name__}, {state}"]
        lines += [f"  replaced   {replaced}" for replaced in self.replaced]
        lines += [f"  left alone {left}" for left in self.left_alone]
        return "\n".join(lines)


def _describe(replacement: Replacement) -> Replaced:
    (levels, size, dim) = replacement.shape()
    return Replaced(
        path=replacement.path,
        quantizer=type(replacement.quantizer).__name__,
        method=replacement.method,
        levels=levels,
        size=size,
        dim=dim,
    )
