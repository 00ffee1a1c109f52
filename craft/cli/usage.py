"""Explain in one line why a command line cannot be understood."""

from __future__ import annotations

import re
from typing import Any

from craft.settings.closest import did_you_mean


def usage_line(error: Exception) -> str | None:
    """Say what is wrong with the command line, what was probably meant, and where to find help.

    Returns:
        The line, or None for other errors, such as a bug, and for a request for help.
    """
    # Recognised by attributes, not by class: typer has moved these errors between packages.
    told: Any = error
    if getattr(error, "exit_code", None) != 2 or not hasattr(error, "format_message"):
        return None
    if type(error).__name__ == "NoArgsIsHelpError":
        return None
    said = str(told.format_message()).replace("Value error, ", "").rstrip(".")
    option = getattr(told, "option_name", None)
    choice = re.search(r"'([^']*)' is not one of (.*)", said, re.DOTALL)
    if option is not None and hasattr(told, "possibilities"):
        said = f"{told.message.rstrip('.')}{did_you_mean(option, told.possibilities or ())}"
    elif choice is not None:
        said += did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2]))
    context = getattr(told, "ctx", None)
    path = "craft" if context is None else context.command_path
    return f"{said}; see `{path} --help`"
