"""Consoles that show text from elsewhere literally; everything that commands print uses them.

Names of classes and files, answers of models and messages of other programs are never read as
rich's markup or a terminal's control sequences: ``[red]`` is shown as it is, ESC as ``\\x1b``. Text
in colour is a :class:`rich.text.Text`.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from craft.runtime.plain_text import visible


class Terminal(Console):
    """A rich console without markup, emoji codes, highlighting and control characters."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """Escape before anything is measured, so that columns stay aligned."""
        return super().render_str(visible(text), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A spinner whose text is taken literally; rich would read it as markup."""
        return super().status(
            Text(visible(status)) if isinstance(status, str) else status, **options
        )

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Also escape what was not given as a plain string, such as a Text."""
        for segment in super().render(renderable, options):
            if segment.control is None:
                segment = Segment(visible(segment.text), segment.style)
            yield segment


console = Terminal()
errors = Terminal(stderr=True)


def show_plainly() -> None:
    """Escape control characters in log messages and warnings too."""

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return visible(super().format(record))

    if logging.lastResort is not None:  # prints records that no handler took
        logging.lastResort.setFormatter(Plain())
    plain = warnings.formatwarning
    warnings.formatwarning = lambda *args, **more: visible(plain(*args, **more))


def print_traceback() -> None:
    """Print the traceback of the exception being handled, as Python would."""
    sys.stderr.write(visible(traceback.format_exc()))
