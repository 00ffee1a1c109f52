"""Models, tokenizers and configs of transformers, from directories that a user brings.

No code that lies in such a directory is ever run, nothing is fetched, and what the library makes
of a broken directory, from SafetensorError to twenty lines of advice, becomes one line that names
the file.
"""

from __future__ import annotations

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
from craft.runtime.stored_tensors import read_header, tensor_files

CONFIG = "config.json"
#: One of these makes a directory a tokenizer's.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)


def load_config(directory: Path | str, what: str, kind: Any = AutoConfig) -> Any:
    """The configuration in a directory.

    Args:
        what: what it is, for the message, such as "the language model".

    Raises:
        CraftError: a missing, damaged or unusable ``config.json``; a model that only code in the
            directory knows.
    """
    directory = Path(directory)
    content = read_json(directory / CONFIG, f"the config of {what}")
    if content.get("auto_map") and content.get("model_type") not in CONFIG_MAPPING:
        raise _foreign_code(directory, what)
    return _call(kind, directory, what)


def load_model(
    kind: Any, directory: Path | str, what: str, *, dtype: torch.dtype
) -> PreTrainedModel:
    """A model in eval mode, every weight of which is in the files.

    Args:
        kind: class with a ``from_pretrained``, such as AutoModelForCausalLM.
        what: what it is, for the message, such as "the language model".

    Raises:
        CraftError: as for :func:`load_config`; weights that are missing, cut short, Git LFS
            pointers or pickles, or that do not fit the config.
    """
    directory = Path(directory)
    load_config(directory, what)
    tensor_files(directory, f"weights of {what}")
    model, found = _call(
        kind,
        directory,
        what,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # which are refused here, with both numbers
    )
    for name, stored, wanted in sorted(found["mismatched_keys"]):
        raise StoredFileError(
            f"{directory}, {what}, holds {name} of shape {tuple(stored)}, its config asks for "
            f"{tuple(wanted)}: config and weights do not belong together"
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise StoredFileError(
            f"{directory}, {what}, does not hold the weights its config asks for: missing "
            f"{missing[:3]} ({len(missing)})"
        )
    return model


def load_tokenizer(directory: Path | str, what: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a directory.

    Args:
        what: whose it is, for the message, such as "the language model".

    Raises:
        CraftError: there is none, or its files are damaged, cut short, or Git LFS pointers.
    """
    directory = Path(directory)
    if not has_tokenizer(directory):
        raise StoredFileError(
            f"{directory} holds no tokenizer of {what}: expected one of "
            f"{', '.join(TOKENIZER_FILES)}"
        )
    return _call(AutoTokenizer, directory, f"the tokenizer of {what}")


def has_tokenizer(directory: Path | str) -> bool:
    """Whether a directory holds a tokenizer's vocabulary."""
    return any((Path(directory) / name).is_file() for name in TOKENIZER_FILES)


def _foreign_code(directory: Path, what: str) -> CraftError:
    return CraftError(
        f"{directory}, {what}, can be used only by running code that lies in it (auto_map in its "
        "config), which is never done; use a model that transformers knows"
    )


def _call(kind: Any, directory: Path, what: str, **options: Any) -> Any:
    for path in sorted(directory.iterdir()):
        # transformers reads a pointer as a chat template, or passes it over, without a word.
        if path.is_file() and is_lfs_pointer(path):
            require_file(path, f"a file of {what}")
    try:
        return kind.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True, **options
        )
    except Exception as error:  # transformers raises whatever the file makes it stumble over
        if "custom code" in str(error):
            raise _foreign_code(directory, what) from error
        _blame_a_file(directory, what)
        first = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise StoredFileError(
            f"{directory} cannot be read as {what}: {type(error).__name__}: {first.strip()}"
        ) from error


def _blame_a_file(directory: Path, what: str) -> None:
    """Raise StoredFileError for the first file of a directory that is not what its name says."""
    for path in sorted(directory.iterdir()):
        if path.suffix == ".json":
            read_json(path, f"a file of {what}")
        elif path.suffix == ".safetensors":
            read_header(path, f"weights of {what}")
        elif path.suffix == ".model":
            require_file(path, f"a file of {what}")
