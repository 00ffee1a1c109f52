"""The command line: ``craft demo | adapt | evaluate | transfer | prior | data | info`` and more.

torch and the models are imported inside the commands, so that ``craft --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

import craft
from craft.cli import codebook, convert, data
from craft.cli.adapt import adapt
from craft.cli.align import align
from craft.cli.corpus import prior, tokenize
from craft.cli.demo import demo
from craft.cli.evaluate import evaluate
from craft.cli.export import export
from craft.cli.few_shot import few_shot
from craft.cli.generate import generate
from craft.cli.info import info
from craft.cli.interrupt import EXIT_CODE, remember_line, tell
from craft.cli.judge import judge
from craft.cli.pictures import pictures
from craft.cli.reproduce import reproduce
from craft.cli.settings import list_settings
from craft.cli.terminal import console, errors, print_traceback, show_plainly
from craft.cli.transfer import transfer
from craft.cli.usage import usage_line
from craft.cli.words import words
from craft.errors import CraftError
from craft.runtime.processes import says_first
from craft.runtime.rank import is_main_process
from craft.workbench.outputs import release_directories


class _Commands(TyperGroup):
    """Turns users' mistakes into one red line and exit code 2, and Ctrl-C into exit code 130."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        remember_line(info_name, args)
        try:
            return super().make_context(info_name, args, *more, **extra)
        except Exception as error:
            _end_misuse(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if is_main_process():
                tell("only what this command had already written is kept")
            raise typer.Exit(EXIT_CODE) from None
        except (CraftError, OSError) as error:
            if os.environ.get("CRAFT_DEBUG"):
                raise
            if isinstance(error, BrokenPipeError):
                raise  # the reader of our output, such as `head`, has closed it; typer ends quietly
            text = str(error)
            if isinstance(error, OSError) and error.strerror and error.filename:
                text = f"{error.strerror}: {error.filename}"  # without the errno
            if says_first():
                _print_error(text)
            raise typer.Exit(2) from None
        except Exception as error:
            _end_misuse(error)
            raise
        finally:
            release_directories()


def _end_misuse(error: Exception) -> None:
    """End with one line if the command line cannot be understood; otherwise do nothing."""
    line = usage_line(error)
    if line is not None:
        if is_main_process():  # they all were given the same line
            _print_error(line)
        raise typer.Exit(2) from None


def _print_error(text: str) -> None:
    line = " ".join(text.split())
    errors.print(Text.assemble(("error:", "bold red"), " ", (line, "red")), soft_wrap=True)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(convert.app, name="convert")
app.add_typer(codebook.app, name="codebook")


def _print_version(asked: bool) -> None:
    if asked:
        console.print(f"craft {craft.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Adapt a discrete vision-language model by training only its vision encoder.

    Mistakes in the arguments end with one line and exit code 2; CRAFT_DEBUG=1 shows the traceback.
    """


app.command()(demo)
app.command()(adapt)
app.command(name="settings")(list_settings)
app.command(name="few-shot")(few_shot)
for command in (
    evaluate,
    transfer,
    export,
    pictures,
    judge,
    reproduce,
    tokenize,
    prior,
    generate,
    align,
    words,
    info,
):
    app.command()(command)


def main() -> None:
    """Entry point of the ``craft`` command."""
    show_plainly()
    try:
        app()
    except Exception:  # a bug of ours
        if says_first():
            print_traceback()
        sys.exit(1)
