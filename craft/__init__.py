"""CRAFT: adapt discrete vision-language models by fine-tuning only the vision encoder.

Names are imported on first use, so that `import craft` loads neither torch nor other large
packages.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from craft.codebook import Codebook, CodebookMismatchError
    from craft.errors import CraftError
    from craft.family.family import ModelFamily
    from craft.fitting.fit import fit_codebook
    from craft.models.encoder_pack import EncoderPack
    from craft.prior import EncoderMismatchWarning, TokenPrior
    from craft.pruning import Pruned, keep_count, prune, prune_order
    from craft.quantization import commitment, quantize
    from craft.workbench.adaptation import adapt
    from craft.workbench.alignment import align
    from craft.workbench.examination import evaluate, transfer

__all__ = [
    "Codebook",
    "CodebookMismatchError",
    "CraftError",
    "EncoderMismatchWarning",
    "EncoderPack",
    "ModelFamily",
    "Pruned",
    "TokenPrior",
    "adapt",
    "align",
    "commitment",
    "evaluate",
    "fit_codebook",
    "keep_count",
    "prune",
    "prune_order",
    "quantize",
    "transfer",
]

_HOME = {
    "Codebook": "craft.codebook",
    "CodebookMismatchError": "craft.codebook",
    "CraftError": "craft.errors",
    "EncoderMismatchWarning": "craft.prior",
    "EncoderPack": "craft.models.encoder_pack",
    "ModelFamily": "craft.family.family",
    "Pruned": "craft.pruning",
    "TokenPrior": "craft.prior",
    "adapt": "craft.workbench.adaptation",
    "align": "craft.workbench.alignment",
    "commitment": "craft.quantization",
    "evaluate": "craft.workbench.examination",
    "fit_codebook": "craft.fitting.fit",
    "keep_count": "craft.pruning",
    "prune": "craft.pruning",
    "prune_order": "craft.pruning",
    "quantize": "craft.quantization",
    "transfer": "craft.workbench.examination",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("craft-vlm")
    if name not in _HOME:
        raise AttributeError(f"module 'craft' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
