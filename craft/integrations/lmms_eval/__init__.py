"""Our models in lmms-eval: ``lmms-eval --model craft --model_args pretrained=MODELS,...``.

lmms-eval finds :func:`manifest` through the entry point ``lmms_eval.models``. Importing this
package does not import lmms-eval.
"""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The model that lmms-eval registers: the name ``craft`` and the path of its class."""
    from lmms_eval.models.registry_v2 import ModelManifest  # pyright: ignore[reportMissingImports]

    return ModelManifest(
        model_id="craft", simple_class_path="craft.integrations.lmms_eval.model.CraftModel"
    )
