"""Files appear whole or not at all, and a failure keeps the earlier file and says why."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from craft.runtime import whole_file
from craft.runtime.whole_file import (
    WriteError,
    open_whole,
    remove_unfinished,
    require_room,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)
from craft.runtime.whole_folder import files_together, parts_swapped

WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text(path, "new" * 100_000),
    "bytes": lambda path: write_bytes(path, b"new" * 100_000),
    "json": lambda path: write_json(path, ["new"] * 100_000),
    "tensors": lambda path: write_tensors(path, {"new": torch.zeros(75_000)}),
}


def files(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_files_have_the_mode_of_the_umask(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert files(tmp_path) == ["deep/file"]


def test_what_is_written_is_what_was_given(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "ä\n")
    assert (tmp_path / "text").read_bytes() == b"\xc3\xa4\n"
    write_json(tmp_path / "json", {"a": [1]})
    assert json.loads((tmp_path / "json").read_text()) == {"a": [1]}
    write_tensors(tmp_path / "tensors", {"x": torch.arange(6).view(2, 3).T})
    assert load_file(tmp_path / "tensors")["x"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_full_disk_leaves_the_earlier_file_and_says_how_much_room_is_needed(
    tmp_path: Path,
) -> None:
    """In a process of its own, whose files are limited to 200 kB."""
    for kind in WRITERS:
        (tmp_path / kind).write_text("earlier")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.craft.runtime.test_whole_file import WRITERS\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "for kind, write in WRITERS.items():\n"
        "    try: write(Path(sys.argv[1]) / kind)\n"
        "    except OSError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for kind, line in zip(WRITERS, said, strict=True):
        wanted = f"{tmp_path / kind} could not be written: File too large; it needs "
        assert line.startswith(wanted)
        assert "free there; make room and try again" in line
        assert (tmp_path / kind).read_text() == "earlier"
    assert files(tmp_path) == sorted(WRITERS)


def test_a_failure_halfway_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), open_whole(path) as file:  # noqa: PT012
        file.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "earlier"
    assert files(tmp_path) == ["lines"]


def test_places_that_cannot_be_written_to_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/x could not be written: (Not a dir|File exists)"):
        write_text(tmp_path / "file" / "x", "")
    with pytest.raises(WriteError, match=r"could not be written: Is a directory"):
        write_text(tmp_path, "")
    with pytest.raises(WriteError, match=r"^/proc/x could not be written: .*"):
        write_tensors("/proc/x", {"x": torch.zeros(1)})


def test_errors_about_other_files_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    elsewhere = tmp_path / "missing.png"
    with pytest.raises(FileNotFoundError), open_whole(tmp_path / "here" / "lines"):
        elsewhere.read_bytes()


def test_metadata_are_sorted(tmp_path: Path) -> None:
    metadata = {name: 'ä\x01"\\' * n for n, name in enumerate("zyxwvutsr")}
    tensors = {"b": torch.arange(3), "a": torch.zeros(2, 2)}
    for number in range(8):
        write_tensors(tmp_path / str(number), tensors, metadata)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(8)}) == 1
    with safe_open(tmp_path / "0", framework="pt") as file:
        assert file.metadata() == metadata
        assert file.get_tensor("b").tolist() == [0, 1, 2]


@pytest.mark.usefixtures("umask")
def test_parts_replace_those_of_an_earlier_thing(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    for name in ("card", "one", "folder/a", "folder/b"):
        write_text(tmp_path / name, "earlier")
    earlier = files(tmp_path)
    parts = ("one", "two", "folder")
    with pytest.raises(ValueError, match="halfway"), parts_swapped(tmp_path, parts, "card") as new:  # noqa: PT012
        (new / "card").write_text("new")
        raise ValueError("halfway")
    assert files(tmp_path) == earlier
    with parts_swapped(tmp_path, parts, "card") as new:
        write_text(new / "folder" / "c", "new")
        (new / "card").write_text("new")
        assert (tmp_path / "card").read_text() == "earlier"
    assert files(tmp_path) == ["card", "folder/c", "kept"]
    assert (tmp_path / "card").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "folder" / "c").stat().st_mode) == 0o640


def test_ctrl_c_between_the_moves_comes_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every point where it may be pressed."""
    replace, pressed = os.replace, True
    for instant in range(20):
        out, moves = tmp_path / str(instant), []
        with parts_swapped(out, ("one", "two"), "card") as new:
            for name in ("card", "one", "two"):
                (new / name).write_text("earlier")

        def interrupted(*paths: Path, at: int = instant, made: list[int] = moves) -> None:
            made.append(1)
            if len(made) == at // 2 + 1 and at % 2 == 0:
                raise KeyboardInterrupt
            replace(*paths)
            if len(made) == at // 2 + 1 and at % 2 == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", interrupted)
            try:
                with parts_swapped(out, ("one", "two"), "card") as new:
                    for name in ("card", "one"):
                        (new / name).write_bytes(b"new")
                pressed = False
            except KeyboardInterrupt:
                pressed = True
        assert files(out) == ["card", "one"], instant
        assert {(out / name).read_text() for name in files(out)} == {"new"}
    assert not pressed  # more points were tried than there are


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    left = (".parts.123.part", ".pack.json.99999.part")
    (tmp_path / left[0] / "new").mkdir(parents=True)
    (tmp_path / left[0] / "new" / "weights").write_text("half")
    (tmp_path / left[1]).write_text("half")
    others = (".hidden", "a.part", ".a.part", ".x.12a.part")
    for name in others:
        (tmp_path / name).write_text("mine")
    remove_unfinished(tmp_path)
    assert files(tmp_path) == sorted(others)


@pytest.mark.usefixtures("umask")
def test_files_of_one_thing_appear_together_among_others(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "card").write_text("earlier")
    with pytest.raises(ValueError, match="halfway"), files_together(tmp_path) as new:  # noqa: PT012
        (new / "card").write_text("new")
        raise ValueError("halfway")
    assert (tmp_path / "card").read_text() == "earlier"
    with files_together(tmp_path) as new:
        (new / "sub").mkdir()
        write_tensors(new / "sub" / "weights", {"x": torch.zeros(1)})
        (new / "card").write_text("new")
        assert (tmp_path / "card").read_text() == "earlier"
    assert files(tmp_path) == ["card", "kept", "sub/weights"]
    assert (tmp_path / "card").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "sub" / "weights").stat().st_mode) == 0o640


def test_too_little_room_is_said_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_room(tmp_path / "a" / "b", 1, "the pack")
    monkeypatch.setattr(whole_file, "room", lambda path: 10)
    wanted = r"the pack in .* needs 3.0 MiB, 10 bytes are free there; make room or"
    with pytest.raises(WriteError, match=wanted):
        require_room(tmp_path, 3 << 20, "the pack")
