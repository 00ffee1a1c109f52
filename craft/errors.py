"""Errors that the user can mend, told apart from faults of the package.

The command line turns a :class:`CraftError` into one line and exit code 2. Every other exception is
a fault of ours and keeps its traceback.
"""

from __future__ import annotations


class CraftError(ValueError):
    """Something the user gave, or has, is not what is needed.

    The message says what is wrong, which value was found, what was expected, and the way out.
    """


class MissingPackageError(CraftError, ImportError):
    """An optional package is not installed; the message has the line that installs it."""
