"""Files that never end are refused at once."""

import os
import socket
import stat
import time

import pytest

from craft.runtime.regular_files import (
    regular_bytes,
    regular_text,
    require_regular,
)
from craft.runtime.stored_files import StoredFileError, kind_of_special


@pytest.fixture
def special(tmp_path, monkeypatch):
    """Name -> the path of something that is not a regular file."""
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)  # the system limits a socket's path to 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "fifo")
        (tmp_path / "zero").symlink_to("/dev/zero")
        yield tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fifo", "a FIFO"),
        ("link", "a FIFO"),
        ("socket", "a socket"),
        ("zero", "a device"),
        ("folder", "a folder"),
    ],
)
@pytest.mark.parametrize("read", [require_regular, regular_bytes, regular_text])
def test_special_files_are_refused_at_once(special, name, kind, read):
    began = time.perf_counter()
    with pytest.raises(StoredFileError, match=rf"{name} is {kind}; only regular files are read"):
        read(special / name)
    assert time.perf_counter() - began < 1


def test_regular_files_are_read(tmp_path):
    (tmp_path / "a").write_bytes("é".encode())
    assert regular_bytes(tmp_path / "a", 2) == "é".encode()
    assert regular_text(tmp_path / "a") == "é"
    assert require_regular(tmp_path / "gone") == tmp_path / "gone"
    with pytest.raises(StoredFileError, match="has 2 bytes, more than 1"):
        regular_bytes(tmp_path / "a", 1)
    with pytest.raises(FileNotFoundError):
        regular_bytes(tmp_path / "gone")
    assert kind_of_special(stat.S_IFREG | 0o644) is None
