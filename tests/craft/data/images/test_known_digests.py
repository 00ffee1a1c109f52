"""Hashes of files are read back while the files are as they were, and only then."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from craft.data.images import known_digests
from craft.data.images.cache import PixelCache
from craft.data.images.known_digests import digests
from craft.data.images.record_store import RecordStore
from craft.data.readers import DataError, Record, read_records
from craft.data.readers.image import ImageFile


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRAFT_CACHE", str(tmp_path / "cache"))
    # The images of these tests are younger than what is noted.
    monkeypatch.setattr(known_digests, "SETTLED", -time.time_ns())
    return tmp_path / "cache" / "pixels"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is read, as it is read."""
    seen: list[Path] = []
    read = ImageFile.read

    def counted(self: ImageFile) -> bytes:
        seen.append(self.path)
        return read(self)

    monkeypatch.setattr(ImageFile, "read", counted)
    return seen


def fresh(data: Path) -> list[Record]:
    """As a process that has read nothing yet has them."""
    return list(read_records(data).records)


def test_what_did_not_change_is_not_read_again(
    folder: Path, class_folder: Path, reads: list[Path]
) -> None:
    found = digests(fresh(class_folder))
    assert len(reads) == 80
    assert digests(fresh(class_folder)) == found == [r.digest() for r in fresh(class_folder)]
    assert len(reads) == 160  # of which 80 by the last comparison
    (path,) = folder.glob("*.digests")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert digests(fresh(class_folder)) == found
    assert len(reads) == 240


@pytest.mark.parametrize("how", ["in place", "exchanged", "renamed over", "linked"])
def test_an_edit_that_hides_itself_is_noticed(
    folder: Path, class_folder: Path, reads: list[Path], how: str
) -> None:
    """Size and mtime are those of before; the kernel's time, or the inode, is not."""
    records = fresh(class_folder)
    before = digests(records)
    first, second = (Path(str(records[row].image)) for row in (3, 40))
    status = first.stat()
    time.sleep(0.02)  # a tick of the kernel's clock
    content = bytearray(first.read_bytes())
    content[-20] ^= 1
    if how == "in place":
        with first.open("r+b") as file:
            file.write(content)
    elif how == "exchanged":
        first.unlink()
        first.write_bytes(content)
    elif how == "renamed over":
        other = first.with_suffix(".new")
        other.write_bytes(content)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(first)
    else:
        first.unlink()
        first.symlink_to(second)
    if how != "linked":
        os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (first.stat().st_size, first.stat().st_mtime_ns) == (
            status.st_size,
            status.st_mtime_ns,
        )
    reads.clear()
    after = digests(fresh(class_folder))
    assert [i for i, pair in enumerate(zip(before, after, strict=True)) if len({*pair}) > 1] == [3]
    assert after == [r.digest() for r in fresh(class_folder)]
    if how == "linked":
        assert after[3] == after[40]


def test_files_that_changed_a_moment_ago_are_not_noted(
    folder: Path, class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They might change again within the same tick of the clock."""
    monkeypatch.setattr(known_digests, "SETTLED", 3600 * 10**9)
    digests(fresh(class_folder))
    assert not list(folder.glob("*.digests"))


def test_a_file_that_changes_while_it_is_read_is_not_noted(
    folder: Path, class_folder: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    read = ImageFile.read

    def touched(self: ImageFile) -> bytes:
        content = read(self)
        self.path.chmod(0o640)  # moves ctime
        return content

    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "read", touched)
        digests(fresh(class_folder))
    assert not list(folder.glob("*.digests"))


def test_hashes_known_for_a_while_say_nothing_about_files_of_now(
    folder: Path, class_folder: Path, draw: Callable[..., Path]
) -> None:
    records = fresh(class_folder)
    for record in records:
        record.decoded()
    old = records[0].digest()
    draw(Path(str(records[0].image)), 99)
    assert digests(records)[0] == old
    assert digests(fresh(class_folder))[0] != old


def test_a_moved_data_set_is_read_anew_and_another_is_kept_apart(
    folder: Path, class_folder: Path, tmp_path: Path, reads: list[Path]
) -> None:
    found = digests(fresh(class_folder))
    shutil.copytree(class_folder, tmp_path / "copy")
    assert digests(fresh(tmp_path / "copy")) == found
    assert len(reads) == 160
    assert digests(fresh(class_folder)) == digests(fresh(tmp_path / "copy"))
    assert len(reads) == 160
    assert len(list(folder.glob("*.digests"))) == 2
    cache = PixelCache.of_environment()
    assert cache is not None
    assert cache.clear() > 0
    assert not list(folder.glob("*.digests"))


def test_missing_images_are_all_named(folder: Path, class_folder: Path) -> None:
    records = fresh(class_folder)
    gone = [Path(str(records[row].image)) for row in (3, 70)]
    for path in gone:
        path.unlink()
    with pytest.raises(DataError) as error:
        digests(records)
    assert all(str(path) in str(error.value) for path in gone)


def test_a_wrong_hash_is_found_by_decoding(folder: Path, class_folder: Path) -> None:
    records = fresh(class_folder)
    records[0].trust(records[1].digest())
    with pytest.raises(DataError, match="has changed since it was first read"):
        RecordStore(records, 24).pixels([0])
