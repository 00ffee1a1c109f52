"""Checkpoints that store their codebook in a separate file.

The codebook is not one of the weights: it stays float32 whatever they are cast to, is not sharded
or averaged with them, and has a fingerprint that the config repeats.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, PreTrainedModel
from transformers.utils.hub import cached_file
from typing_extensions import Self

from craft.codebook import Codebook
from craft.errors import CraftError
from craft.models.attention import available_attention
from craft.models.loading import (
    ADAPTER,
    refuse_kernel,
    refuse_other_weights,
    require_all_weights,
)
from craft.runtime.whole_folder import files_together

CODEBOOK_FILE = "codebook.safetensors"
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def default_dtype(device_map: Any = None) -> torch.dtype:
    """float32 on the CPU, where bfloat16 is slow; bfloat16 if weights are placed on a GPU."""
    places = device_map.values() if isinstance(device_map, dict) else [device_map]
    on_gpu = any(
        place == "auto" or isinstance(place, int) or str(place).startswith("cuda")
        for place in places
    )
    return torch.bfloat16 if on_gpu and torch.cuda.is_available() else torch.float32


class CodebookCheckpoint(PreTrainedModel):
    """A model whose ``save_pretrained`` and ``from_pretrained`` include its codebook."""

    if TYPE_CHECKING:  # subclasses have it as an attribute or a property

        @property
        def codebook(self) -> Codebook: ...

    def save_pretrained(self, save_directory: Path | str, *args: Any, **kwargs: Any) -> None:
        """Write config, weights (safetensors) and codebook."""
        with files_together(save_directory, sum(x.nbytes for x in self.parameters())) as written:
            super().save_pretrained(written, *args, **kwargs)
            self.codebook.save(written / CODEBOOK_FILE)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Path | str,
        *args: Any,
        codebook: Codebook | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a checkpoint, in eval mode.

        Args:
            pretrained_model_name_or_path: a directory, or the name of a hub repository.
            codebook: a copy of the checkpoint's codebook to use in its place; saves memory where
                several models share one.
            kwargs: as for transformers. ``dtype`` defaults to bfloat16 if ``device_map`` places
                weights on a GPU, else to float32. ``attn_implementation`` falls back to "sdpa",
                with a warning in the log, if a requested flash attention is not installed.

        Raises:
            CodebookMismatchError: the weights speak another codebook.
            StoredFileError: weights are missing, unknown, of another shape, or pickles.
            CraftError: the arguments ask for remote code or pickles.
            OSError: no such checkpoint, or it holds no codebook.
        """
        name = str(pretrained_model_name_or_path)
        if kwargs.pop("trust_remote_code", False) or not kwargs.pop("use_safetensors", True):
            raise CraftError(
                "code from a checkpoint is never run and pickles are never loaded; leave "
                "trust_remote_code and use_safetensors out"
            )
        options = {key: kwargs[key] for key in _HUB_OPTIONS if key in kwargs}
        if codebook is None:
            codebook = Codebook.load(str(cached_file(name, CODEBOOK_FILE, **options)))
        config = kwargs.pop("config", None)
        if config is None:
            config = AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
        adapter = cached_file(name, ADAPTER, _raise_exceptions_for_missing_entries=False, **options)
        refuse_other_weights(
            f"{name}, the checkpoint,",
            adapter=adapter is not None,
            named=getattr(config, "transformers_weights", None),
        )
        for part in config.sub_configs:
            chosen = getattr(getattr(config, part), "_attn_implementation", None)
            refuse_kernel(chosen, f"{name}, the checkpoint,")
        vision = getattr(config, "vision_config", config)
        if vision.codebook_fingerprint is not None:
            codebook.require_fingerprint(vision.codebook_fingerprint)
        kwargs.setdefault("dtype", default_dtype(kwargs.get("device_map")))
        if "attn_implementation" in kwargs:
            kwargs["attn_implementation"] = available_attention(kwargs["attn_implementation"])
        elif config._attn_implementation is not None:  # where AutoModel stores the argument
            config._attn_implementation = available_attention(config._attn_implementation)
        tell = kwargs.pop("output_loading_info", False)
        kwargs["ignore_mismatched_sizes"] = True  # refused below, with both shapes in the message
        loaded: Any = super().from_pretrained(
            name,
            *args,
            config=config,
            codebook=codebook,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **kwargs,
        )
        model, found = loaded
        require_all_weights(found, f"{name}, the checkpoint,")
        return loaded if tell else model
