"""Texts in a table that an evaluation suite reads with pandas, which guesses what columns hold.

``pandas.read_csv`` takes "NA" and "None" for missing values even in quotes, and "007" and "3.10"
for numbers, chunk by chunk of a large file. No quoting prevents that, so a text that would come
back as another one is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from craft.errors import CraftError

#: What pandas reads as a missing value.
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)


def require_same_when_read(column: Sequence[tuple[str, str | None]]) -> None:
    """Refuse a column whose texts would come back as others.

    Args:
        column: for each row what the text is, for messages ("option B of question 'q7'"), and the
            text, or None where the row has none.

    Raises:
        CraftError: names the first such text, and what it would be read as.
    """
    kinds = {_number(text) for _, text in column if text is not None}
    whole_become_fractions = float in kinds or any(text is None for _, text in column)
    for what, text in column:
        if text is None:
            continue
        read = _read_as(text, whole_become_fractions)
        if read is not None:
            raise CraftError(
                f"{what} is {text!r}, which pandas, by which VLMEvalKit reads its tables, takes "
                f"for {read}; word it otherwise, or export to lmms-eval, which keeps every text"
            )


def _read_as(text: str, whole_become_fractions: bool) -> str | None:
    if text in MISSING:
        return "a missing value"
    if "\0" in text:
        return "the end of the text"
    if text.strip().lower() in ("true", "false"):
        same = str(text.strip().lower() == "true")
        return None if text == same else same
    kind = _number(text)
    if kind is None:
        return None
    if kind is int and text.strip().lstrip("+-").isdigit():
        same = str(float(text)) if whole_become_fractions else str(int(text))
    else:
        same = str(float(text))
    return None if same == text else f"the number {same}"


def _number(text: str) -> type[int] | type[float] | None:
    if not text.isascii() or "_" in text:
        return None
    try:
        float(text)
    except ValueError:
        return None
    return int if text.strip().lstrip("+-").isdigit() else float
