"""Ctrl-C: says what was kept, and which line to type to resume."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from craft.cli.terminal import errors

#: Exit code that shells report for a process ended by Ctrl-C: 128 plus the signal's number.
EXIT_CODE = 130

_typed: list[str] = []


def remember_line(name: str | None, arguments: Sequence[str]) -> None:
    """Remember the line that the user typed: the program's name and its arguments."""
    _typed[:] = [name or "craft", *arguments]


def typed_line(**options: str) -> str:
    """The line that the user typed, quoted for a shell, with some options changed.

    Args:
        options: option without dashes -> value, which replaces a typed one.
    """
    words = list(_typed)
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        kept: list[str] = []
        skip = False
        for word in words:
            if skip or word.startswith(f"{option}="):
                skip = False
            elif word == option:
                skip = True
            else:
                kept.append(word)
        words = [*kept, option, value]
    return shlex.join(words)


@contextmanager
def telling_what_is_kept(told: Callable[[], str], main: bool = True) -> Iterator[None]:
    """If Ctrl-C ends the block, print ``told()`` and exit with code 130.

    Args:
        main: whether this process prints; only one of several should.
    """
    try:
        yield
    except KeyboardInterrupt:
        if main:
            tell(told())
        raise typer.Exit(EXIT_CODE) from None


def tell(text: str) -> None:
    """Print to standard error without wrapping, so that the line can be copied."""
    errors.print(f"interrupted: {text}", soft_wrap=True)


def answers_kept(out: Path) -> str:
    """What an interrupted exam leaves, and how to resume it."""
    return f"what was encoded and answered is kept in {out}; to resume: {typed_line()}"


def checkpoint_kept(directories: Sequence[Path], every: int) -> str:
    """What an interrupted training run leaves, and how to resume it.

    Args:
        directories: of its checkpoints, later stages last.
        every: steps between two checkpoints; 0 for none.
    """
    from craft.training.records.checkpoint import CheckpointDirectory

    for directory in reversed(directories):
        steps = CheckpointDirectory(directory).steps()
        if steps:
            return (
                f"kept the checkpoint of step {steps[-1]}, "
                f"{CheckpointDirectory(directory).path(steps[-1])}; "
                f"to resume there: {typed_line(resume='auto')}"
            )
    when = f"after {every} steps" if every else "never (checkpoint.every is 0)"
    return (
        f"nothing is kept: the first checkpoint would be written {when} (--set checkpoint.every=N "
        f"writes one every N steps); to start again: {typed_line(resume='auto')}"
    )
