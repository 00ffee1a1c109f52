"""Load transformers models, tokenizers and configs from a user's directories.

Code in such a directory is never run, nothing is downloaded, and whatever transformers raises for a
broken directory, from SafetensorError to twenty lines of advice, becomes one line that names the
file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from craft.errors import CraftError
from craft.runtime.json_cards import read_json
from craft.runtime.stored_files import StoredFileError, is_lfs_pointer, require_file
from craft.runtime.stored_tensors import read_header, require_fractions, tensor_files

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
#: Config keys that name an attention implementation.
_ATTENTION = ("attn_implementation", "_attn_implementation")
#: Files of which one marks the directory of a tokenizer.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)


def load_config(directory: Path | str, what: str, config_class: Any = AutoConfig) -> Any:
    """Load the config in a directory.

    Args:
        what: name of the model in messages, such as "the language model".
        config_class: AutoConfig, or the required class.

    Raises:
        CraftError: ``config.json`` is missing, damaged or unusable; the model needs code from the
            directory or from a repository that it names.
    """
    directory = Path(directory)
    content = read_json(directory / CONFIG, f"the config of {what}", foreign=True)
    if content.get("auto_map") and content.get("model_type") not in CONFIG_MAPPING:
        raise _foreign_code(directory, what)
    for place, value in _everything_in(content):
        key = place.split(".")[-1]
        # Of a part: some models ask whether to run it.
        if key == "auto_map" and place != key and value:
            raise _foreign_code(directory, what)
        if key in _ATTENTION:
            refuse_kernel(value, f"{directory}, {what},")
    with _told(directory, what):
        return config_class.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )


def load_model(
    kind: Any, directory: Path | str, what: str, *, dtype: torch.dtype
) -> PreTrainedModel:
    """Load a model, in eval mode, whose weights are exactly those in the files.

    Args:
        kind: class with ``from_pretrained``, such as AutoModelForCausalLM.
        what: name of the model in messages, such as "the language model".

    Raises:
        CraftError: as for :func:`load_config`; weights are missing, unknown, truncated, Git LFS
            pointers or pickles, or do not fit the config.
    """
    directory = Path(directory)
    config = load_config(directory, what)
    refuse_other_weights(
        f"{directory}, {what},",
        adapter=(directory / ADAPTER).exists(),
        named=getattr(config, "transformers_weights", None),
    )
    files = tensor_files(directory, f"weights of {what}")
    with _told(directory, what):
        model, found = kind.from_pretrained(
            directory,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with both shapes in the message
        )
    require_all_weights(found, f"{directory}, {what},")
    own = model.state_dict()
    for file in files.values():
        for name, tensor in file.tensors.items():
            if name in own and own[name].is_floating_point():
                require_fractions(name, tensor, what)
    return model


def refuse_kernel(attention: Any, origin: str) -> None:
    """Raises CraftError if a config asks for attention code from a hub repository."""
    if isinstance(attention, str) and "/" in attention:
        raise CraftError(
            f"{origin} asks for attention by {attention!r}: code in a repository, which is never "
            "fetched; remove it from the config, and choose with hardware.attention"
        )


def refuse_other_weights(origin: str, *, adapter: bool, named: Any) -> None:
    """Refuse weights that transformers would load besides or instead of the safetensors files.

    Args:
        origin: place and name of the model in messages.
        adapter: whether there is an :data:`ADAPTER`; its weights may be pickles.
        named: the file of weights that the config names, if any.
    """
    if adapter:
        raise StoredFileError(
            f"{origin} holds {ADAPTER}: PEFT weights to be added to a model, which is not "
            "supported here; merge them (merge_and_unload), or remove the file"
        )
    if named:
        raise StoredFileError(
            f"{origin} has a config that names a file of weights (transformers_weights), which is "
            "not read; put weights into model.safetensors, or into files that its index lists"
        )


def require_all_weights(found: Mapping[str, Any], origin: str) -> None:
    """Check transformers' loading info, because it initialises missing weights at random.

    Tied weights of which the files hold one copy are not missing.

    Args:
        found: loading info of ``from_pretrained(..., output_loading_info=True,
            ignore_mismatched_sizes=True)``.
        origin: place and name of the weights in messages.

    Raises:
        StoredFileError: a weight is missing, unknown or of another shape; names it.
    """
    for name, stored, wanted in sorted(found["mismatched_keys"]):
        raise StoredFileError(
            f"{origin} holds {name} of shape {tuple(stored)}, its config asks for "
            f"{tuple(wanted)}: config and weights do not belong together"
        )
    missing, unknown = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    if missing or unknown:
        raise StoredFileError(
            f"{origin} does not hold the weights its config asks for: "
            f"missing {missing[:3]} ({len(missing)}), not known {unknown[:3]} ({len(unknown)})"
        )
    for problem in found["error_msgs"]:
        raise StoredFileError(f"{origin} cannot be loaded: {' '.join(str(problem).split())}")


def load_tokenizer(directory: Path | str, what: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer in a directory.

    Args:
        what: name of the tokenizer's model in messages, such as "the language model".

    Raises:
        CraftError: there is none, or its files are damaged, truncated, or Git LFS pointers.
    """
    directory = Path(directory)
    if not has_tokenizer(directory):
        raise StoredFileError(
            f"{directory} holds no tokenizer of {what}: expected one of "
            f"{', '.join(TOKENIZER_FILES)}"
        )
    what = f"the tokenizer of {what}"
    with _told(directory, what):
        return AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )


def has_tokenizer(directory: Path | str) -> bool:
    """Whether a directory contains a tokenizer's vocabulary."""
    return any((Path(directory) / name).is_file() for name in TOKENIZER_FILES)


def _foreign_code(directory: Path, what: str) -> CraftError:
    return CraftError(
        f"{directory}, {what}, needs code from its directory (auto_map in its config), which is "
        "never run; use a model that transformers knows"
    )


@contextmanager
def _told(directory: Path, what: str) -> Iterator[None]:
    """Refuse files that transformers silently ignores; shorten its errors to one line."""
    if not directory.is_dir():
        raise StoredFileError(f"{directory}, {what}, is no directory")
    for path in sorted(directory.iterdir()):
        # transformers silently ignores a pointer, or reads it as a chat template.
        if path.is_file() and is_lfs_pointer(path):
            require_file(path, f"a file of {what}")
    try:
        yield
    except Exception as error:  # transformers raises exceptions of any kind
        if "custom code" in str(error):
            raise _foreign_code(directory, what) from error
        _blame_a_file(directory, what)
        first = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise StoredFileError(
            f"{directory} cannot be read as {what}: {type(error).__name__}: {first.strip()}"
        ) from error


def _everything_in(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a nested JSON object, dotted, with its value."""
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        yield f"{place}{key}", inner
        yield from _everything_in(inner, f"{place}{key}.")
    for inner in value if isinstance(value, list) else ():
        yield from _everything_in(inner, f"{place}")


def _blame_a_file(directory: Path, what: str) -> None:
    """Raise StoredFileError for the first file in a directory that does not fit its suffix."""
    for path in sorted(directory.iterdir()):
        if path.suffix == ".json":
            read_json(path, f"a file of {what}", foreign=True)
        elif path.suffix == ".safetensors":
            read_header(path, f"weights of {what}")
        elif path.suffix == ".model":
            require_file(path, f"a file of {what}")
