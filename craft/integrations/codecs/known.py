"""Which quantisers of transformers are known, and how they are recognised.

By the names of their classes: no model's code is imported that the caller has not imported. A
subclass counts if it has the methods of the class it is made from; one that overrides them computes
something else and is left alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from torch import nn

from craft.integrations.codecs.image import (
    CosineVqVaeReplacement,
    Emu3Replacement,
    VqVaeReplacement,
)
from craft.integrations.codecs.projected import DacReplacement, HiggsReplacement
from craft.integrations.codecs.replacement import Replacement
from craft.integrations.codecs.residual import (
    EncodecReplacement,
    MimiReplacement,
    XcodecReplacement,
)


class Known(NamedTuple):
    replacement: type[Replacement]
    methods: tuple[str, ...]  # of the quantiser, that must be the known class's own
    level: str = ""  # class of a level
    codebook: str = ""  # class of a level's codebook
    levels: str = "quantizers"  # where they are
    level_methods: tuple[str, ...] = ("encode", "decode")


_MODELS = "transformers.models."
_HIGGS = "higgs_audio_v2_tokenizer.modeling_higgs_audio_v2_tokenizer.HiggsAudioV2Tokenizer"
KNOWN = {
    "mimi.modeling_mimi.MimiResidualVectorQuantizer": Known(
        MimiReplacement, ("encode",), "MimiVectorQuantization", "MimiEuclideanCodebook", "layers"
    ),
    "encodec.modeling_encodec.EncodecResidualVectorQuantizer": Known(
        EncodecReplacement,
        ("encode",),
        "EncodecVectorQuantization",
        "EncodecEuclideanCodebook",
        "layers",
    ),
    "xcodec.modeling_xcodec.XcodecResidualVectorQuantization": Known(
        XcodecReplacement, ("encode",), "XcodecVectorQuantization", "XcodecEuclideanCodebook"
    ),
    "chameleon.modeling_chameleon.ChameleonVQVAEVectorQuantizer": Known(
        VqVaeReplacement, ("forward",)
    ),
    "janus.modeling_janus.JanusVQVAEVectorQuantizer": Known(VqVaeReplacement, ("forward",)),
    "glm_image.modeling_glm_image.GlmImageVQVAEVectorQuantizer": Known(
        CosineVqVaeReplacement, ("forward",)
    ),
    "emu3.modeling_emu3.Emu3VQVAEVectorQuantizer": Known(Emu3Replacement, ("forward",)),
    "dac.modeling_dac.DacResidualVectorQuantizer": Known(
        DacReplacement,
        ("forward",),
        "DacVectorQuantize",
        level_methods=("forward", "decode_latents"),
    ),
    f"{_HIGGS}ResidualVectorQuantization": Known(
        HiggsReplacement,
        ("encode",),
        "HiggsAudioV2TokenizerVectorQuantization",
        "HiggsAudioV2TokenizerEuclideanCodebook",
    ),
}

# Containers whose parts are what is known; not worth a word of their own.
_CONTAINERS = ("mimi.modeling_mimi.MimiSplitResidualVectorQuantizer",)

_QUANTIZER = re.compile(r"(quantiz(e|er|ation)|codebook|fsq)\d*$", re.IGNORECASE)
_REASONS = (
    (r"FiniteScalar|FSQ", "it rounds each channel by itself, so there is no codebook to search"),
    (r"Gumbel", "it chooses by the scores of a linear layer, not by a distance"),
)
_UNKNOWN = "no quantiser that is known here"


def replacement_for(module: nn.Module, path: str) -> Replacement | str | None:
    """What to put in its place, or why it is left alone; None for what is no quantiser."""
    ancestors = {_name(kind): kind for kind in type(module).__mro__}
    for name, known in KNOWN.items():
        if _MODELS + name in ancestors:
            reason = _overridden(module, ancestors[_MODELS + name], known)
            return reason or known.replacement(module, path)
    if any(_MODELS + name in ancestors for name in _CONTAINERS):
        return None
    kind = type(module)
    if not _QUANTIZER.search(kind.__name__) or kind.__module__.startswith("torch."):
        return None
    return next((why for part, why in _REASONS if re.search(part, kind.__name__)), _UNKNOWN)


def _overridden(quantizer: nn.Module, known_class: type, known: Known) -> str | None:
    """Names a method that is not the known class's; None if all are."""
    parts: list[tuple[nn.Module, type | None, tuple[str, ...]]] = [
        (quantizer, known_class, known.methods)
    ]
    if known.level:
        for level in getattr(quantizer, known.levels):
            parts.append((level, _ancestor(level, known.level), known.level_methods))
            if known.codebook:
                codebook = getattr(level, "codebook", level)
                original = _ancestor(codebook, known.codebook)
                parts.append((codebook, original, ("quantize", "encode", "decode")))
    for module, original, methods in parts:
        kind = type(module)
        if original is None:
            return f"a level of it is a {kind.__name__}, which is not known here"
        for method in methods:
            if getattr(kind, method) is not getattr(original, method):
                return f"{kind.__name__} overrides {original.__name__}.{method}"
    return None


def _ancestor(module: nn.Module, name: str) -> type | None:
    return next((kind for kind in type(module).__mro__ if kind.__name__ == name), None)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
