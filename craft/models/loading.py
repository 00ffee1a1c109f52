"""Models, tokenizers and configs of transformers, from directories that a user brings.

No code that lies in such a directory is ever run, nothing is fetched, and what the library makes
of a broken directory, from SafetensorError to twenty lines of advice, becomes one line that names
the file.
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
#: Keys of a config that name an attention.
_ATTENTION = ("attn_implementation", "_attn_implementation")
#: One of these makes a directory a tokenizer's.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)


def load_config(directory: Path | str, what: str, config_class: Any = AutoConfig) -> Any:
    """The configuration in a directory.

    Args:
        what: what it is, for the message, such as "the language model".
        config_class: AutoConfig, or the class that it must be.

    Raises:
        CraftError: a missing, damaged or unusable ``config.json``; a model that only code in the
            directory, or of a repository that it names, knows.
    """
    directory = Path(directory)
    content = read_json(directory / CONFIG, f"the config of {what}", foreign=True)
    if content.get("auto_map") and content.get("model_type") not in CONFIG_MAPPING:
        raise _foreign_code(directory, what)
    for place, value in _everything_in(content):
        key = place.split(".")[-1]
        if key == "auto_map" and place != key and value:  # of a part, which some models ask about
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
    """A model in eval mode, every weight of which is in the files, and nothing else.

    Args:
        kind: class with a ``from_pretrained``, such as AutoModelForCausalLM.
        what: what it is, for the message, such as "the language model".

    Raises:
        CraftError: as for :func:`load_config`; weights that are missing, unknown, cut short, Git
            LFS pointers or pickles, or that do not fit the config.
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
            ignore_mismatched_sizes=True,  # which are refused here, with both numbers
        )
    require_all_weights(found, f"{directory}, {what},")
    own = model.state_dict()
    for file in files.values():
        for name, tensor in file.tensors.items():
            if name in own and own[name].is_floating_point():
                require_fractions(name, tensor, what)
    return model


def refuse_kernel(attention: Any, origin: str) -> None:
    """Raises CraftError if a config asks for an attention whose code a repository has."""
    if isinstance(attention, str) and "/" in attention:
        raise CraftError(
            f"{origin} asks for attention by {attention!r}: code of a repository, which is never "
            "fetched; take it out of the config, and choose by hardware.attention"
        )


def refuse_other_weights(origin: str, *, adapter: bool, named: Any) -> None:
    """Raises StoredFileError for weights that transformers would load instead of, or on top of, the
    model's own safetensors files.

    Args:
        origin: where the model is and whose it is, for the message.
        adapter: whether :data:`ADAPTER` lies there; such weights may be pickles.
        named: the file that the config names, if it does.
    """
    if adapter:
        raise StoredFileError(
            f"{origin} holds {ADAPTER}: weights of PEFT, to be put on top of a model, "
            "which is not done here; merge them (merge_and_unload), or take the file away"
        )
    if named:
        raise StoredFileError(
            f"{origin} has a config that names a file of weights (transformers_weights), which is "
            "not read; weights lie in model.safetensors, or in what its index lists"
        )


def require_all_weights(found: Mapping[str, Any], origin: str) -> None:
    """Check what transformers tells with ``output_loading_info``: it makes up what is missing.

    Tied weights, of which a file holds one, are not missing.

    Args:
        found: from ``from_pretrained(..., output_loading_info=True, ignore_mismatched_sizes=True)``
        origin: where the weights are and whose they are, for the message.

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
    what = f"the tokenizer of {what}"
    with _told(directory, what):
        return AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )


def has_tokenizer(directory: Path | str) -> bool:
    """Whether a directory holds a tokenizer's vocabulary."""
    return any((Path(directory) / name).is_file() for name in TOKENIZER_FILES)


def _foreign_code(directory: Path, what: str) -> CraftError:
    return CraftError(
        f"{directory}, {what}, can be used only by running code that lies in it (auto_map in its "
        "config), which is never done; use a model that transformers knows"
    )


@contextmanager
def _told(directory: Path, what: str) -> Iterator[None]:
    """Refuse what transformers would pass over, and say in one line what it raises."""
    if not directory.is_dir():
        raise StoredFileError(f"{directory}, {what}, is no directory")
    for path in sorted(directory.iterdir()):
        # transformers reads a pointer as a chat template, or passes it over, without a word.
        if path.is_file() and is_lfs_pointer(path):
            require_file(path, f"a file of {what}")
    try:
        yield
    except Exception as error:  # transformers raises whatever the file makes it stumble over
        if "custom code" in str(error):
            raise _foreign_code(directory, what) from error
        _blame_a_file(directory, what)
        first = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise StoredFileError(
            f"{directory} cannot be read as {what}: {type(error).__name__}: {first.strip()}"
        ) from error


def _everything_in(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a JSON object and of what is in it, with its value; keys are dotted."""
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        yield f"{place}{key}", inner
        yield from _everything_in(inner, f"{place}{key}.")
    for inner in value if isinstance(value, list) else ():
        yield from _everything_in(inner, f"{place}")


def _blame_a_file(directory: Path, what: str) -> None:
    """Raise StoredFileError for the first file of a directory that is not what its name says."""
    for path in sorted(directory.iterdir()):
        if path.suffix == ".json":
            read_json(path, f"a file of {what}", foreign=True)
        elif path.suffix == ".safetensors":
            read_header(path, f"weights of {what}")
        elif path.suffix == ".model":
            require_file(path, f"a file of {what}")
