"""Process settings that must be made before torch and transformers are imported."""

from __future__ import annotations

import os


def prepare() -> None:
    """Set up memory and logging; call it before torch and transformers are imported."""
    from craft.cli.terminal import console
    from craft.runtime.memory import keep_freed_memory
    from craft.runtime.rank import is_main_process

    console.quiet = not is_main_process()  # of several processes, the first one tells
    keep_freed_memory()
    # transformers warns about token ids of default configurations that nobody uses.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # transformers would draw its own progress bar for every small model it loads.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
