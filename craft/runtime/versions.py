"""The software and hardware that a number was measured with."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

from craft_kernels import backend_info


def environment() -> dict[str, str]:
    """Versions, processor and kernel backend, for results files and `craft info`."""
    kernels = backend_info()
    return {
        "craft": metadata.version("craft-vlm"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
        "kernels": kernels.impl,
        "kernels_reason": kernels.reason,
    }
