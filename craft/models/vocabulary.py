"""Whether a language model can say the answers at all."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from craft.errors import CraftError


def unknown_answers(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> list[str]:
    """The answers with a word the tokenizer has no token for. Tokenizers of bytes know them all."""
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return []
    ids = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    return [answer for answer, row in zip(answers, ids, strict=True) if unknown in row]


def require_answers(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str], name: str) -> None:
    """Refuse data whose answers a language model could not tell apart.

    Raises:
        CraftError: an answer has unknown words, or two answers have the same tokens.
    """
    unknown = unknown_answers(tokenizer, answers)
    if unknown:
        shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        raise CraftError(
            f"the language model {name!r} has no words for {len(unknown)} of {len(answers)} "
            f"answers: {shown}; rename them in words it knows, or use models with a larger "
            "vocabulary (--models)"
        )
    ids = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    said: dict[tuple[int, ...], str] = {}
    for answer, row in zip(answers, ids, strict=True):
        other = said.setdefault(tuple(row), answer)
        if other != answer:
            raise CraftError(
                f"the language model {name!r} cannot tell the answers {other!r} and {answer!r} "
                "apart: they are the same tokens"
            )
