"""CRAFT: adapt discrete vision-language models by fine-tuning only the vision encoder.

Names are imported when first used, so that `import craft` loads neither torch nor anything large.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from craft.codebook import Codebook, CodebookMismatchError
    from craft.prior import EncoderMismatchWarning, TokenPrior
    from craft.pruning import Pruned, keep_count, prune, prune_order
    from craft.quantization import commitment, quantize

__all__ = [
    "Codebook",
    "CodebookMismatchError",
    "EncoderMismatchWarning",
    "Pruned",
    "TokenPrior",
    "commitment",
    "keep_count",
    "prune",
    "prune_order",
    "quantize",
]

_HOME = {
    "Codebook": "craft.codebook",
    "CodebookMismatchError": "craft.codebook",
    "EncoderMismatchWarning": "craft.prior",
    "Pruned": "craft.pruning",
    "TokenPrior": "craft.prior",
    "commitment": "craft.quantization",
    "keep_count": "craft.pruning",
    "prune": "craft.pruning",
    "prune_order": "craft.pruning",
    "quantize": "craft.quantization",
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


class _Package(ModuleType):
    """Importing craft/pruning.py would bind `craft.prune` to the module; it means the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
