"""No image, wherever it is stored, starts a program, blocks, or is read without end."""

import base64
import io
import json
import os
import re
import tarfile
import time
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import craft
from craft.data.readers import DataError, ReadOptions, read_class_names, read_records
from craft.errors import CraftError
from tests.craft.cli.commands import craft_command, one_error_line

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A file that exists once a program called Ghostscript was started."""
    folder, marker = tmp_path / "bin", tmp_path / "started"
    folder.mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return marker


def placed(place, root, data, name="a.png"):
    """A data set whose only image is ``data``, or the file called ``name`` if that is None."""
    root.mkdir(exist_ok=True)
    if data is not None:
        (root / name).write_bytes(data)
    kind, _, cell = place.partition(" ")
    value = {
        "path": name,
        "base64": base64.b64encode(data or b"").decode(),
        "data": "data:image/png;base64," + base64.b64encode(data or b"").decode(),
        "bytes": data,
        "struct": {"bytes": data, "path": "x.png"},
        "struct-path": {"bytes": None, "path": name},
        "": None,
    }[cell]
    rows = [{"image": value, "label": "cat"}]
    path = root / f"d.{kind}"
    if kind == "folder":
        (root / "set/cat").mkdir(parents=True)
        (root / name).rename(root / "set/cat/a.png")
        return root / "set"
    if kind == "csv":
        path.write_text(f"image,label\n{value},cat\n")
    elif kind == "jsonl":
        path.write_text(json.dumps(rows[0]))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "saved":
        datasets.Dataset.from_list(rows).save_to_disk(path)
        if os.path.lexists(root / name):  # its paths are relative to its own folder
            (root / name).rename(path / name)
    else:
        with tarfile.open(path, "w") as tar:
            for member, content in (("0.png", data or b""), ("0.cls", b"cat")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


PATHS = ["csv path", "json path", "jsonl path", "jsonl struct-path", "parquet path",
         "parquet struct-path", "saved path", "saved struct-path"]  # fmt: skip
PLACES = [*PATHS, "folder", "tar", "csv base64", "jsonl data", "parquet bytes", "parquet struct",
          "parquet base64", "saved bytes", "saved struct", "saved base64"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_postscript_reaches_no_program(tmp_path, ghostscript, place):
    where = ReadOptions(images=tmp_path / "data")
    (record,) = read_records(placed(place, tmp_path / "data", EPS), where)
    with pytest.raises(DataError, match="is PostScript, which is not supported; convert it"):
        record.rgb()
    assert not ghostscript.exists()


def test_postscript_given_to_generate_reaches_no_program(tmp_path, ghostscript):
    (tmp_path / "a.png").write_bytes(EPS)
    line = one_error_line(craft_command("generate", tmp_path / "a.png", "--question", "what?"))
    assert "a.png: is PostScript, which is not supported" in line
    assert not ghostscript.exists()


def test_no_code_here_opens_images_without_naming_formats():
    found = []
    for file in Path(craft.__file__).parent.rglob("*.py"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(r"\bImage\.open\(", line) and "formats=" not in line:
                found.append(f"{file}:{number}: {line.strip()}")
    assert not found


@pytest.fixture
def special(tmp_path, request):
    """A FIFO nobody writes to, or a device that never ends, called a.png."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/a.png"
    if request.param == "a FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return request.param


@pytest.mark.parametrize("special", ["a FIFO", "a device"], indirect=True)
@pytest.mark.parametrize("place", [*PATHS, "folder"])
@pytest.mark.parametrize("skip", [False, True])
def test_endless_files_are_refused_as_images(tmp_path, special, place, skip):
    path = placed(place, tmp_path / "data", None)
    # It is not damaged, so never skipped. Without images=, the link out of the folder is refused.
    options = ReadOptions(skip_corrupt=skip, images=tmp_path / "data")
    began = time.perf_counter()
    with pytest.raises(CraftError) as error:
        [record.rgb() for record in read_records(path, options)]
    assert time.perf_counter() - began < 2
    assert "\n" not in str(error.value)
    if place != "folder":
        said = str(error.value)
        led_out = special == "a device" and "leads out of" in said
        assert led_out or f"is {special}; only regular files are read" in said
    elif special == "a FIFO":
        assert "a class without images" in str(error.value)


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.json", "d.jsonl", "d.csv.gz", "d.parquet",
                                  "d.tar", "cat"])  # fmt: skip
def test_endless_files_are_refused_as_data(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (read_records, read_class_names):
        began = time.perf_counter()
        with pytest.raises(CraftError, match=f"{name}:? (it )?is a FIFO; only regular files"):
            read(tmp_path / name)
        assert time.perf_counter() - began < 2


def test_endless_files_are_one_line_of_every_command(
    tmp_path, class_folder, tiny_models, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    models = ["--models", tiny_models.directory]
    for command in (
        ["generate", fifo, "--question", "what?"],
        ["data", "check", fifo],
        ["data", "check", class_folder, "--class-names", fifo],
        ["adapt", "--data", fifo, "--out", tmp_path / "o", *models],
        ["adapt", "--data", class_folder, "--config", fifo, "--out", tmp_path / "o", *models],
        ["adapt", "--data", class_folder, "--option-file", fifo, "--out", tmp_path / "o", *models],
        [
            "judge",
            fifo,
            "--out",
            tmp_path / "o",
            "--model",
            "x",
            "--url",
            "http://127.0.0.1:9/v1",
            "--budget",
            "1",
            "--price-read",
            "1",
            "--price-written",
            "1",
        ],
    ):
        began = time.perf_counter()
        line = one_error_line(craft_command(*command))
        assert time.perf_counter() - began < 20, command
        assert "is a FIFO; only regular files are read" in line, command
