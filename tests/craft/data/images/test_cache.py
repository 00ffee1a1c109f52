"""Cached pixels equal decoded ones, whatever happens while they are written."""

from __future__ import annotations

import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from craft.data.images import record_store
from craft.data.images.cache import PixelCache, PixelFile, PixelWriter
from craft.data.images.record_store import RecordStore, image_tensor
from craft.data.readers import DataError, PixelRange, Record, read_records
from craft.errors import CraftError
from tests.craft.cli.commands import craft_command, done

SIZE = 24
#: Fills the cache slowly, eight rows at a time, once it has said that it begins.
FILL = """
import sys, time
from craft.data.images import cache, record_store
from craft.data.readers import read_records
seen = record_store._seen
def slowly(record, size):
    time.sleep(0.01)
    return seen(record, size)
record_store._seen, record_store.BATCH, cache._STRIDE = slowly, 8, 1
store = record_store.RecordStore(read_records(sys.argv[1]).records, 24)
print("begins", flush=True)
store.prepare()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


@pytest.fixture
def records(class_folder: Path) -> list[Record]:
    return list(read_records(class_folder).records)


def filling(data: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", FILL, str(data)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "begins\n"
    return process


def fail(*_: object) -> None:
    pytest.fail("decoded again")


def test_prepared_images_are_not_decoded_again(
    folder: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = RecordStore(records, SIZE).pixels(range(80))
    seen: list[tuple[int, int]] = []
    store = RecordStore.opened(records, SIZE)
    store.prepare(lambda *counts: seen.append(counts))
    assert (seen[0], seen[-1], len(seen)) == ((0, 80), (80, 80), 81)
    monkeypatch.setattr(Record, "decoded", fail)
    rows = [5, 6, 7, 79, 0, 5]
    again = RecordStore.opened(records, SIZE)
    again.prepare()
    for same in (store, again, pickle.loads(pickle.dumps(again))):
        assert torch.equal(same.pixels(rows), expected[rows])
    assert torch.equal(again.take([9, 4]).take([1]).pixels([0]), expected[[4]])
    assert [path.suffix for path in sorted(folder.iterdir())] == [".lock", ".pixels"]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nobody looks at all images before this is set."""
    go, look = threading.Event(), RecordStore._look

    def waiting(*arguments: Any) -> bool:
        assert go.wait(60)
        return look(*arguments)

    monkeypatch.setattr(RecordStore, "_look", waiting)
    return go


def test_impatient_users_get_the_same_pixels_while_the_cache_fills(
    folder: Path, records: list[Record], slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = torch.stack([image_tensor(record.rgb(), SIZE) for record in records])
    seen: list[tuple[int, int]] = []
    store = RecordStore(records, SIZE)
    store.prepare(lambda *counts: seen.append(counts), 0.2)
    assert not list(folder.glob("*.pixels"))
    assert torch.equal(store.pixels(range(5)), expected[:5])
    slow.set()
    assert torch.equal(store.pixels([70, 3, 70]), expected[[70, 3, 70]])
    assert torch.equal(pickle.loads(pickle.dumps(store)).pixels([6]), expected[[6]])
    store.prepare()  # waits for what goes on, and decodes nothing itself
    assert seen[-1] == (80, 80)
    assert len(list(folder.glob("*.pixels"))) == 1
    monkeypatch.setattr(Record, "decoded", fail)
    assert torch.equal(store.pixels(range(80)), expected)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_what_is_wrong_is_told_when_all_were_seen(
    folder: Path,
    records: list[Record],
    slow: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    cache: str,
) -> None:
    if cache == "off":
        monkeypatch.setenv("CRAFT_CACHE", "off")
    bad = [Path(str(records[row].image)) for row in (13, 70)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:50])
    store = RecordStore(records, SIZE)
    store.prepare(patience=0.0)
    store.pixels([0, 1])
    slow.set()
    assert store._looking is not None
    store._looking.ended(60)
    with pytest.raises(DataError) as error:
        store.pixels([0, 1])
    assert all(str(path) in str(error.value) for path in bad)
    assert not list(folder.glob("*.pixels"))
    with pytest.raises(DataError):  # patient now
        store.prepare()


def test_patience_that_suffices_is_as_waiting(folder: Path, records: list[Record]) -> None:
    path = Path(str(records[70].image))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=re.escape(str(path))):
        RecordStore(records, SIZE).prepare(patience=60.0)


def test_other_images_sizes_and_ranges_are_other_files(folder: Path, records: list[Record]) -> None:
    RecordStore(records, SIZE).prepare()
    found = PixelCache.of_environment()
    assert found is not None
    assert found.find(records, SIZE) is not None
    for others, size in ((records[1:], SIZE), (records[::-1], SIZE), (records, SIZE + 1)):
        assert found.find(others, size) is None
    mapped = [replace(r, pixel_range=PixelRange(black=0, white=100)) for r in records]
    assert found.find(mapped, SIZE) is None


def test_corrupt_images_are_named_and_nothing_is_kept_as_whole(
    folder: Path, records: list[Record]
) -> None:
    bad = [Path(str(records[row].image)) for row in (3, 70)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError) as error:
        RecordStore(records, SIZE).prepare()
    assert all(str(path) in str(error.value) for path in bad)
    assert not list(folder.glob("*.pixels"))


def test_a_truncated_file_is_refused(folder: Path, records: list[Record]) -> None:
    RecordStore(records, SIZE).prepare()
    (path,) = folder.glob("*.pixels")
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(CraftError, match=r"craft data cache --clear"):
        RecordStore.opened(records, SIZE)


def test_rows_that_never_reached_the_disk_are_decoded_again(
    folder: Path, records: list[Record]
) -> None:
    """After a power failure a file may contain rows that were never written."""
    expected = RecordStore(records, SIZE).pixels(range(80))
    found = PixelCache.of_environment()
    assert found is not None
    with found.making(records, SIZE) as file:
        assert isinstance(file, PixelWriter)
        file.append(expected[:30])
    (part,) = folder.glob("*.part")
    with part.open("ab") as half:
        half.write(bytes(3 * SIZE**2 * 9))  # rows that are not counted
    seen: list[int] = []
    store = RecordStore(records, SIZE)
    store.prepare(lambda done, _: seen.append(done))
    assert seen[0] == 30
    assert torch.equal(store.pixels(range(80)), expected)
    assert not list(folder.glob("*.part"))
    assert not list(folder.glob("*.rows"))


def kill_and_finish(data: Path, records: list[Record], kills: int) -> None:
    """Kill processes that fill the cache, then complete it; the pixels must be right."""
    rng = random.Random(0)
    for _ in range(kills):
        process = filling(data)
        time.sleep(rng.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    RecordStore(records, SIZE).prepare()
    found = PixelCache.of_environment()
    assert found is not None
    file = found.find(records, SIZE)
    assert file is not None
    expected = torch.stack([record_store._seen(record, SIZE).pixels for record in records])
    assert torch.equal(file.pixels(range(len(records))), expected)


def test_killed_processes_leave_no_wrong_pixels(
    folder: Path, class_folder: Path, records: list[Record]
) -> None:
    kill_and_finish(class_folder, records, 1)


@pytest.mark.slow
@pytest.mark.fuzz
def test_thirty_kills_leave_no_wrong_pixels(
    folder: Path, class_folder: Path, records: list[Record]
) -> None:
    kill_and_finish(class_folder, records, 30)


@pytest.mark.slow
def test_two_processes_at_once_make_one_file(
    folder: Path, class_folder: Path, records: list[Record]
) -> None:
    both = [filling(class_folder) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    (path,) = folder.glob("*.pixels")
    expected = RecordStore(records, SIZE).pixels(range(80))
    assert torch.equal(PixelFile(path).pixels(range(80)), expected)


def test_the_limit_makes_room_by_age(
    folder: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = 3 * SIZE**2
    monkeypatch.setenv("CRAFT_CACHE_LIMIT", str(50.5 * row / 2**30))
    stores = [RecordStore(records[i : i + 20], SIZE) for i in (0, 20, 40)]
    for number, store in enumerate(stores):
        store.prepare()
        (newest,) = [p for p in folder.glob("*.pixels") if p.stat().st_mtime > 1e6]
        os.utime(newest, (number, number))
    found = PixelCache.of_environment()
    assert found is not None
    held = [found.find(store.records, SIZE) is not None for store in stores]
    assert held == [False, True, True]
    assert len(stores[0].pixels(range(20))) == 20  # its file is still open
    RecordStore(records, SIZE).prepare()  # too large for the limit: nothing is deleted for it
    assert len(found.entries()) == 2


def test_a_read_only_folder_is_reported_and_not_used(
    tmp_path: Path,
    records: list[Record],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CRAFT_CACHE", str(tmp_path / "file"))
    store = RecordStore(records, SIZE)
    store.prepare()
    assert "decoded images are not cached" in caplog.text
    assert len(store.pixels([0])) == 1


def test_an_invalid_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAFT_CACHE", "somewhere")
    for limit in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("CRAFT_CACHE_LIMIT", limit)
        with pytest.raises(CraftError, match="CRAFT_CACHE_LIMIT must be a number of GiB"):
            PixelCache.of_environment()


def test_the_command_shows_and_clears(
    folder: Path, records: list[Record], quiet_process: None
) -> None:
    shown = done(craft_command("data", "cache"))
    assert "0.0 MiB of at most 20.0 GiB" in shown
    RecordStore(records, SIZE).prepare()
    shown = done(craft_command("data", "cache"))
    assert f"{SIZE}×{SIZE}" in shown
    assert "now" in shown
    found = PixelCache.of_environment()
    assert found is not None
    with found.making(records[:9], SIZE):  # in use, so it stays
        cleared = done(craft_command("data", "cache", "--clear"))
        assert "0.1 MiB deleted" in cleared
        (left,) = found.entries()
        assert not left.whole
        assert "unfinished" in done(craft_command("data", "cache"))
    found.clear()
    assert list(folder.iterdir()) == []


def test_off_is_off(
    records: list[Record], monkeypatch: pytest.MonkeyPatch, quiet_process: None
) -> None:
    monkeypatch.setenv("CRAFT_CACHE", "off")
    RecordStore(records, SIZE).prepare()
    assert PixelCache.of_environment() is None
    assert "CRAFT_CACHE=off: images are not cached" in done(craft_command("data", "cache"))
