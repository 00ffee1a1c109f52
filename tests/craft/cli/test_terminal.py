"""Every command shows text from elsewhere literally, wherever it comes from."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from rich.table import Table
from rich.text import Text

from craft.cli.progress import ProgressDisplay
from craft.cli.terminal import Terminal, console, errors
from craft.family.family import ModelFamily
from craft.runtime.plain_text import on_one_line, shortened, visible
from craft.workbench.generate import Answer
from tests.craft.cli.commands import FEW, QUICK, craft_command, done, one_error_line

ROOT = Path(__file__).parents[3]

#: Colours, titles, the bell, C1, bidi overrides, separators, a lone surrogate; invalid markup,
#: emoji.
EVIL = (
    "\x1b[31mred\x1b]0;title\x07\x08\x0d\x9b2J\x85\u2028\u202eevil\u2066\udc80[red]b[/red][/x]"
    "[link=x]:cat:"
)
SHOWN = (
    r"\x1b[31mred\x1b]0;title\x07\x08\x0d\x9b2J\x85\u2028\u202eevil\u2066\udc80[red]b[/red][/x]"
    "[link=x]:cat:"
)
#: What no command may print, except the line feed; rich's own CSI is checked below.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def on_a_terminal(show: Callable[[Terminal], None]) -> str:
    """Output for a terminal of 300 columns without colours."""
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, color_system=None, width=300)
    show(terminal)
    return file.getvalue()


def table(terminal: Terminal) -> None:
    cells = Table(EVIL, title=EVIL, caption=EVIL)
    cells.add_column(Text(EVIL))
    cells.add_row(EVIL, Text(EVIL))
    terminal.print(cells)


@pytest.mark.parametrize(
    "show",
    [
        lambda terminal: terminal.print(EVIL),
        lambda terminal: terminal.print(f"a {EVIL}", style="bold", soft_wrap=True),
        lambda terminal: terminal.print(Text(EVIL, "red")),
        lambda terminal: terminal.rule(EVIL),
        table,
    ],
)
def test_whatever_is_printed_is_shown(show: Callable[[Terminal], None]) -> None:
    shown = on_a_terminal(show)
    assert not OBEYED.search(shown)
    for part in (r"\x1b[31mred", r"\x9b2J", r"\u202eevil", "[red]b[/red][/x][link=x]:cat:"):
        assert part in shown


def test_json_is_shown() -> None:
    shown = on_a_terminal(lambda terminal: terminal.print_json(json.dumps({EVIL: EVIL})))
    assert not OBEYED.search(shown)
    assert r"\u001b[31mred" in shown


def test_columns_stay_in_line() -> None:
    lines = on_a_terminal(table).splitlines()
    cells = [line for line in lines if "│" in line or "┃" in line]
    assert len({len(line) for line in cells}) == 1


def test_a_spinner_and_a_bar_show_names_as_they_are() -> None:
    def show(terminal: Terminal) -> None:
        with terminal.status(EVIL):
            pass
        with ProgressDisplay(terminal) as progress:
            progress(EVIL, 1, 3)
            progress._progress.refresh()

    shown = on_a_terminal(show)
    drawn = re.sub(r"\x1b\[\??\d*[A-Za-z]|\r", "", shown)  # where rich puts the cursor
    assert not OBEYED.search(drawn)
    assert drawn.count("[red]b[/red][/x][link=x]:cat:") >= 2


def test_escapes() -> None:
    assert visible(EVIL) == SHOWN
    assert visible(visible(EVIL)) == SHOWN
    assert visible("a\tb\nCôte d'Ivoire 猫 👩‍🚀") == "a\tb\nCôte d'Ivoire 猫 👩‍🚀"
    assert on_one_line("a\tb\nc") == r"a\tb\nc"
    assert shortened("abcdefgh", 5) == "ab…gh"
    assert shortened("abcde", 5) == "abcde"


def sources() -> list[tuple[Path, ast.Module]]:
    files = sorted((ROOT / "craft").rglob("*.py"))
    assert files
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in files]


#: Separate programs: they build the pocket world, or pass a line of JSON to their parent.
NOT_COMMANDS = ("craft/pocket/build/", "craft/runtime/step_cost.py", "training_cost.py")


def test_every_command_prints_through_the_terminal() -> None:
    """No other module makes a console, prints, or reads markup."""
    wrong: list[str] = []
    for path, tree in sources():
        if str(path) == "craft/cli/terminal.py" or any(x in str(path) for x in NOT_COMMANDS):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            makes = called in ("print", "Console", "rich.print", "Text.from_markup", "escape")
            writes = re.fullmatch(
                r"typer\.s?echo|sys\.std(out|err)\.write|logging\.basicConfig", called
            )
            reads = any(
                k.arg == "markup" and ast.unparse(k.value) != "False" for k in node.keywords
            )
            if makes or writes or reads:
                wrong.append(f"{path}:{node.lineno}: {ast.unparse(node)[:60]}")
    assert not wrong


def test_strings_of_commands_hold_no_markup() -> None:
    """Markup would be shown as it is."""
    for path, tree in sources():
        if path.parts[1] == "cli" and path.name != "terminal.py":
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert not re.search(r"\[/|\[(bold|dim|red|green|yellow)", node.value), path


def test_both_consoles_are_safe() -> None:
    assert isinstance(console, Terminal)
    assert isinstance(errors, Terminal)
    assert errors.stderr


@pytest.mark.usefixtures("quiet_process")
@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "check", f"/no/{EVIL[:-20]}"],
        ["--no-such[/x]\x1b[31m"],
        ["no-such[/x]\x1b[31m"],
        ["adapt", "--out", "[/x]\x1b[31m", "--domain", "[/x]\x1b[31m"],
        ["adapt", "--out", "x", "--domain", "flags", "--set", "[/x]\x1b[31m=\x9b2J\u202e"],
    ],
)
def test_errors_of_a_command_line_are_shown(arguments: list[str]) -> None:
    result = craft_command(*arguments)
    assert result.exit_code == 2
    assert not OBEYED.search(result.output)
    assert "Traceback" not in result.stderr
    assert "[/x]" in result.stderr or "[red]b" in result.stderr or "\\x1b[31m" in result.stderr


def test_a_fault_of_ours_keeps_its_traceback_and_obeys_nothing() -> None:
    code = (
        "from craft.cli import app\n"
        f"def fail(): raise RuntimeError({EVIL!r})\n"
        "app.app = fail; app.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert SHOWN in result.stderr
    assert not OBEYED.search(result.stderr)


def test_warnings_and_logs_obey_nothing() -> None:
    code = (
        "import logging, warnings\nfrom craft.cli import app\n"
        f"def fail(): warnings.warn({EVIL!r}); logging.getLogger('craft').warning({EVIL!r})\n"
        "app.app = fail; app.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stderr.count(SHOWN) == 2
    assert not OBEYED.search(result.stderr)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of classes with a name table, whose names hold what folder names cannot."""
    root = tmp_path_factory.mktemp("hostile") / "[red]photos[/x]\x1b[31m"  # two folders
    for c in range(6):
        for i in range(6):
            file = root / f"[red]\x1b[3{c}m" / f"\u202e{i}[bold].png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (24, 24), (40 * c, 200 - 30 * i, 90)).save(file)
    (root / "[red]\x1b[30m" / "\x1b[2Jbroken.png").write_bytes(b"no image")
    return root


class TestHostileNames:
    """Real commands on data whose class names, files and folders are hostile."""

    pytestmark = pytest.mark.usefixtures("small_world", "quiet_process")

    def test_data_check(self, hostile: Path, tiny_models: ModelFamily) -> None:
        given = ["data", "check", hostile, "--skip-corrupt", "--models", tiny_models.directory]
        result = craft_command(*given)
        assert not OBEYED.search(result.output)
        assert r"\x1b[30m" in result.output
        assert r"\x1b[2Jbroken.png" in result.output
        assert r"[red]photos[/x]\x1b[31m" in "".join(result.output.split())

    def test_words(self, hostile: Path, tiny_models: ModelFamily) -> None:
        given = ["words", hostile, "--skip-corrupt", "--models", tiny_models.directory]
        result = craft_command(*given)
        assert result.exit_code == 0, result.output
        assert not OBEYED.search(result.output)

    def test_adapt_evaluate_pictures_info(
        self, class_folder: Path, tiny_models: ModelFamily, tmp_path: Path
    ) -> None:
        """Folder names end up in domain names, tables, titles and next steps."""
        root = tmp_path / "[/x]\x1b[31m" / "[red]things\x1b[31m $x_1$"
        shutil.copytree(class_folder, root)
        out, models = tmp_path / "[/x]\x1b[31mpack", ["--models", tiny_models.directory]
        for arguments in (
            ["adapt", "--data", root, "--out", out, *models, *QUICK],
            ["evaluate", out, "--out", tmp_path / "[/x]scores", *models, *FEW],
            ["transfer", out, "--out", tmp_path / "[/x]moved", *models, *FEW],
            ["pictures", out, "--out", tmp_path / "[/x]drawn", *models, "--count", 2],
            ["info", out, *models],
        ):
            result = craft_command(*arguments)
            assert result.exit_code == 0, (arguments[0], result.output, result.exception)
            assert not OBEYED.search(result.output), arguments[0]
            if arguments[0] in ("adapt", "info"):
                assert "[/x]" in result.output

    def test_members_of_archives(self, tiny_models: ModelFamily, tmp_path: Path) -> None:
        path = tmp_path / "shard.tar"
        with tarfile.open(path, "w") as archive:
            for name in (
                "[/x]\x1b[31m.png",
                "[/x]\x1b[31m.cls",
                "\x9b2J\u202e.png",
                "\x9b2J\u202e.cls",
            ):
                member = tarfile.TarInfo(name)
                member.size = 5
                archive.addfile(member, io.BytesIO(b"\x1b[2J\n"))
        for options in ([], ["--skip-corrupt"]):
            result = craft_command(
                "data", "check", path, "--models", tiny_models.directory, *options
            )
            assert not OBEYED.search(result.output)
            assert result.exit_code == 2
            assert r"\x1b[31m" in result.output

    def test_errors(self, tmp_path: Path) -> None:
        bad = tmp_path / "[/x]\x1b[31m.json"
        bad.parent.mkdir()
        bad.write_text('[{"image": "[/y]\\u001b[32m", "conversations": 3}]')
        line = one_error_line(craft_command("data", "check", bad))
        assert not OBEYED.search(line)
        assert r"[/x]\x1b[31m.json" in line

    def test_answers(
        self, tiny_models: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = Answer(text=EVIL, written=EVIL, outside=True)
        monkeypatch.setattr("craft.workbench.generate.generate", lambda *_, **__: answer)
        image = tmp_path / "x.png"
        Image.new("RGB", (24, 24)).save(image)
        given = ["generate", image, "--question", "What?", "--models", tiny_models.directory]
        said = done(craft_command(*given, "--llm", "llama"))
        assert not OBEYED.search(said)
        assert "[red]b[/red][/x]" in said.replace(" ", "")  # wherever it was wrapped
