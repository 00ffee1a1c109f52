"""Copy and complete the tokenizers of a VILA-U checkpoint, and check that they load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, SiglipConfig

from craft.errors import CraftError
from craft.integrations.vila_u.carried_files import carry
from craft.models.aligned_language_model import require_end_token
from craft.models.loading import TOKENIZER_FILES, has_tokenizer, load_tokenizer
from craft.runtime.whole_file import write_json

_BEGINNINGS = ("token", "special_tokens", "added_tokens", "vocab", "merges", "spiece")


def is_tokenizer_file(path: Path) -> bool:
    """Whether a file beside a model belongs to its tokenizer."""
    return path.name.startswith(_BEGINNINGS)


def copy_siglip_tokenizer(source: Path, target: Path, config: SiglipConfig) -> None:
    """Copy SigLIP's tokenizer and check that it loads.

    Raises:
        CraftError: there is no tokenizer, it does not load, or it has more tokens than SigLIP.
    """
    if not has_tokenizer(source):
        raise CraftError(
            f"--siglip-tokenizer {source} holds no tokenizer: expected one of "
            f"{', '.join(TOKENIZER_FILES)}"
        )
    for file in sorted(source.iterdir()):
        if file.is_file() and is_tokenizer_file(file):
            carry(source, file.name, target / file.name, f"SigLIP's tokenizer in {source}")
    text: Any = config.text_config
    _require_vocabulary(target, "SigLIP", text.vocab_size, source)


def copy_tokenizer(folder: Path, out: Path, name: str, config: Any) -> dict[str, str]:
    """Copy the language model's tokenizer files to the folder where our models look for them.

    Raises:
        CraftError: there is no tokenizer, it does not load, or it has more tokens than the language
            model.
    """
    copied = {}
    target = out / name / "tokenizer"
    target.mkdir(parents=True)
    for file in sorted(folder.iterdir()):
        if file.is_file() and is_tokenizer_file(file):
            copied[f"llm/{file.name}"] = f"{name}/tokenizer/{file.name}"
            carry(folder, file.name, target / file.name, f"the tokenizer in {folder}")
    if not has_tokenizer(folder):
        raise CraftError(
            f"{folder} holds no tokenizer: expected one of {', '.join(TOKENIZER_FILES)}"
        )
    if not (target / "tokenizer_config.json").is_file():
        # Without it, transformers reads the model without SentencePiece's leading blank.
        kind = {"tokenizer_class": "LlamaTokenizer"}
        write_json(target / "tokenizer_config.json", kind)
    tokenizer = _require_vocabulary(target, "the language model", config.vocab_size, folder)
    require_end_token(tokenizer, folder)
    return copied


def _require_vocabulary(
    directory: Path, what: str, size: int, origin: Path
) -> PreTrainedTokenizerBase:
    try:
        tokenizer = load_tokenizer(directory, what)
    except CraftError as error:  # name the files themselves, not copies that are about to vanish
        raise CraftError(str(error).replace(str(directory), str(origin))) from error
    if len(tokenizer) > size:
        raise CraftError(
            f"the tokenizer in {origin} knows {len(tokenizer)} tokens, {what} has a vocab_size of "
            f"{size}: they do not belong together"
        )
    return tokenizer
