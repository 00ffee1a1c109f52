"""Conversations about one image, LLaVA's or chat messages, as questions with answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from craft.data.readers.place import DataError, Place
from craft.data.readers.record import Turn

IMAGE_TOKEN = "<image>"
_ASKS = {"human", "user"}
_ANSWERS = {"gpt", "assistant"}


def llava_turns(conversation: Any, place: Place) -> tuple[Turn, ...]:
    """Convert ``[{"from": "human", "value": ...}, {"from": "gpt", "value": ...}, ...]`` to turns.

    Raises:
        DataError: fields are missing, the order is wrong, a text is empty, or ``<image>`` does not
            occur exactly once, in the first question.
    """
    said = []
    for number, message in enumerate(_list(conversation, "conversations", place), 1):
        if not isinstance(message, dict) or not {"from", "value"} <= message.keys():
            raise DataError(
                place, f'turn {number} must be {{"from": ..., "value": ...}}, got {message!r:.60}'
            )
        said.append((message["from"], message["value"]))
    return _turns(said, place)


def message_turns(messages: Any, place: Place) -> tuple[Turn, ...]:
    """Convert chat messages ``[{"role": "user", "content": ...}, ...]`` to turns.

    ``content`` is a text that contains ``<image>``, or a list of ``{"type": "text"}`` and
    ``{"type": "image"}`` parts.

    Raises:
        DataError: as for :func:`llava_turns`.
    """
    said = []
    for number, message in enumerate(_list(messages, "messages", place), 1):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise DataError(
                place, f'message {number} must have "role" and "content", got {message!r:.60}'
            )
        said.append((message["role"], _text(message["content"], number, place)))
    return _turns(said, place)


def _list(value: Any, name: str, place: Place) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise DataError(place, f"{name} must be a list of turns, got {value!r:.60}")
    return value


def _text(content: Any, number: int, place: Place) -> Any:
    if not isinstance(content, list):
        return content
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "image":
            parts.append(IMAGE_TOKEN)
        elif kind == "text" and isinstance(part.get("text"), str):
            parts.append(part["text"])
        else:
            raise DataError(
                place, f"message {number}: parts must be of type text or image, got {part!r:.60}"
            )
    return "\n".join(parts)


def _turns(said: Sequence[tuple[Any, Any]], place: Place) -> tuple[Turn, ...]:
    for i, (speaker, text) in enumerate(said):
        expected = _ANSWERS if i % 2 else _ASKS
        if speaker not in expected:
            raise DataError(
                place,
                f"turn {i + 1} must come from {' or '.join(sorted(expected))}, it comes from "
                f"{speaker!r}; questions and answers must alternate, a question first",
            )
        if not isinstance(text, str) or not text.replace(IMAGE_TOKEN, "").strip():
            raise DataError(place, f"turn {i + 1} has no text: {text!r:.60}")
    if len(said) % 2:
        raise DataError(place, f"the last of {len(said)} turns is a question without an answer")
    tokens = [text.count(IMAGE_TOKEN) for _, text in said]
    if tokens[0] != 1 or sum(tokens) != 1:
        raise DataError(
            place,
            f"the first question must contain {IMAGE_TOKEN} exactly once and no other turn may; "
            f"the counts by turn are {tokens}",
        )
    texts = [text.replace(IMAGE_TOKEN, "").strip() for _, text in said]
    return tuple(
        Turn(question, answer, worded=True)
        for question, answer in zip(texts[::2], texts[1::2], strict=True)
    )
