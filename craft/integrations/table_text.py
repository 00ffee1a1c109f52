"""Texts for tables that an evaluation suite reads with pandas, which guesses column types.

``pandas.read_csv`` reads "NA" and "None" as missing values even in quotes, and "007" and "3.10" as
numbers, chunk by chunk in a large file. Quoting does not prevent it, so texts that would be read as
something else are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from craft.errors import CraftError

#: Texts that pandas reads as a missing value.
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)


def require_same_when_read(column: Sequence[tuple[str, str | None]]) -> None:
    """Refuse a column with texts that pandas would not read back unchanged.

    Args:
        column: per row, a description of the text for messages ("option B of question 'q7'") and
            the text, or None if the row has none.

    Raises:
        CraftError: names the first such text and what it would be read as.
    """
    kinds = {_number(text) for _, text in column if text is not None}
    whole_become_fractions = float in kinds or any(text is None for _, text in column)
    for what, text in column:
        if text is None:
            continue
        read = _read_as(text, whole_become_fractions)
        if read is not None:
            raise CraftError(
                f"{what} is {text!r}, which pandas, with which VLMEvalKit reads its tables, takes "
                f"for {read}; reword it, or export to lmms-eval, which keeps every text"
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
