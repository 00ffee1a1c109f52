"""Errors that users can fix, as opposed to bugs in the package.

The command line turns a :class:`CraftError` into one line and exit code 2. Every other exception is
a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class CraftError(ValueError):
    """The user's input or environment is not as required.

    The message says what is wrong, which value was found, what was expected, and the way out.
    """


class MissingPackageError(CraftError, ImportError):
    """An optional package is not installed; the message gives the command that installs it."""
