"""Run the command line in this process, for the tests of its commands."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from craft.cli.app import app

FEW = ["--test-limit", "6", "--general-images", "3"]
QUICK = [arg for s in ("steps=2", "batch=4", "validation_images=4") for arg in ("--set", s)]


def craft_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(result: Result) -> str:
    """Output, on one line, of a command that must succeed."""
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def one_error_line(result: Result) -> str:
    """Error line of a command that must refuse."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line
