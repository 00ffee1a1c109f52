"""The text around image and question that a language model was trained with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from craft.errors import CraftError


@dataclass(frozen=True)
class PromptTemplate:
    """The text of a prompt around its image and its question.

    Args:
        before_image: text in front of the image; tokenised separately from the rest.
        question: text after the image, with ``{question}`` in place of the question.
        begin: whether the prompt begins with the tokenizer's begin token.

    Raises:
        CraftError: ``question`` does not contain ``{question}``.
    """

    before_image: str = ""
    question: str = "{question}"
    begin: bool = False

    def __post_init__(self) -> None:
        if "{question}" not in self.question:
            raise CraftError(
                f"template must hold {{question}} where the question goes, got {self.question!r}"
            )

    @classmethod
    def of_chat(cls, tokenizer: PreTrainedTokenizerBase) -> PromptTemplate:
        """The tokenizer's chat template for a user's message that begins with an image.

        Without a chat template: the begin token, if there is one, and the bare question.
        """
        if getattr(tokenizer, "chat_template", None) is None:
            return cls(question="\n{question}\n", begin=tokenizer.bos_token_id is not None)
        message = {"role": "user", "content": "<image>\n{question}"}
        text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        before, _, question = str(text).partition("<image>")
        return cls(before, question)

    def ask(self, question: str) -> str:
        """The text after the image."""
        return self.question.replace("{question}", question)

    def prefix_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The tokens in front of the image."""
        ids: Any = tokenizer(self.before_image, add_special_tokens=False)["input_ids"]
        begin: Any = [tokenizer.bos_token_id] if self.begin else []
        return [*begin, *ids]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


#: VILA-U's template, which is that of Vicuna v1.
VICUNA = PromptTemplate(
    before_image="A chat between a curious user and an artificial intelligence assistant. The "
    "assistant gives helpful, detailed, and polite answers to the user's questions. USER: ",
    question="\n{question} ASSISTANT:",
    begin=True,
)
