"""Images are read on demand, ahead of time if expected, and resampled as they should be."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from craft.data.domains.building import build_domain, make_manifest
from craft.data.images import record_store, workers
from craft.data.images.augment import resize
from craft.data.images.known_digests import digests
from craft.data.images.record_store import RecordStore, image_tensor, inspect_images
from craft.data.images.store import TensorStore, in_batches, shown
from craft.data.readers import DataError, ImageReport, Record, read_records
from craft.data.readers.image import ImageFile


@pytest.fixture
def records(class_folder: Path) -> list[Record]:
    return list(read_records(class_folder).records)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Records every file that is read."""
    seen: list[Path] = []
    read = ImageFile.read

    def counted(self: ImageFile) -> bytes:
        seen.append(self.path)
        return read(self)

    monkeypatch.setattr(ImageFile, "read", counted)
    return seen


def test_batches_equal_images_decoded_one_by_one(records: list[Record]) -> None:
    store = RecordStore(records, 24)
    rows = [5, 0, 79, 5]
    expected = torch.stack([image_tensor(records[row].rgb(), 24) for row in rows])
    assert torch.equal(store.pixels(rows), expected)
    other = torch.stack([image_tensor(records[row].rgb(), 40) for row in rows])
    assert torch.equal(store.pixels(rows, 40), other)
    assert torch.equal(store.take([7, 79, 5]).pixels([2, 1]), expected[[0, 2]])
    assert torch.equal(pickle.loads(pickle.dumps(store)).pixels(rows), expected)


def test_batches_cover_all_images_in_order(records: list[Record]) -> None:
    store = RecordStore(records[:30], 24)
    parts = list(in_batches(store, batch=8))
    assert [len(part) for part in parts] == [8, 8, 8, 6]
    assert torch.equal(torch.cat(parts), store.pixels(range(30)))
    some = torch.cat(list(in_batches(store, 24, 4, start=10, stop=19)))
    assert torch.equal(some, store.pixels(range(10, 19)))
    assert store._expected == {}


def test_expected_images_are_read_once_and_ahead(
    records: list[Record], reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore(records, 24)
    store.expect([3, 4])
    for future in store._expected.values():
        future.result()
    assert len(reads) == 2
    monkeypatch.setattr(store, "_start", lambda *_: pytest.fail("read again"))
    assert torch.equal(store.pixels([4, 3]), RecordStore(records, 24).pixels([4, 3]))
    store.expect([])
    assert store._expected == {}


def test_each_file_is_read_once_for_digest_and_decoding(
    records: list[Record], reads: list[Path]
) -> None:
    inspect_images(records, ImageReport())
    assert len(reads) == 80
    found = digests(records)
    assert len(reads) == 80
    assert found == [Record(r.id, r.image, r.place, r.label).digest() for r in records]


def test_only_the_parts_that_are_used_are_decoded(
    class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = read_records(class_folder)
    decoded: list[str] = []
    original = Record.decoded

    def counted(self: Record) -> object:
        decoded.append(self.id)
        return original(self)

    monkeypatch.setattr(Record, "decoded", counted)
    domain = build_domain(records, make_manifest(records), 24)
    assert decoded == []
    domain.test.images.pixels([0, 1])
    assert sorted(decoded) == sorted(domain.test.ids[:2])


def test_all_corrupt_images_are_named_at_once(records: list[Record]) -> None:
    bad = [Path(str(records[row].image)) for row in (3, 50)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:50])
    store = RecordStore(records, 24)
    for look in (store.prepare, lambda: store.pixels(range(80))):
        with pytest.raises(DataError) as error:
            look()
        assert all(str(path) in str(error.value) for path in bad)
    assert len(store.pixels(range(4, 50))) == 46


def test_a_file_that_changes_under_way_is_an_error(
    records: list[Record], draw: Callable[..., Path]
) -> None:
    store = RecordStore(records, 24)
    before = store.digest(0)
    draw(Path(str(records[0].image)), 99)
    with pytest.raises(DataError, match="has changed since it was first read"):
        store.pixels([0])
    assert store.digest(0) == before


def test_dark_images_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = []
    for number in range(4):
        folder = tmp_path / f"class {number}"
        folder.mkdir()
        values = np.full((6, 6), 900 + 20 * number, np.uint16)
        for i in range(3):
            Image.fromarray(values + i).save(folder / f"{i}.png")
    records = read_records(tmp_path).records
    store = RecordStore(records, 6)
    for part in in_batches(store, batch=5):
        assert part.max() < 8
    (line,) = [r.getMessage() for r in caplog.records if r.name == record_store.__name__]
    assert "come out dark" in line
    assert "class 0" in line


def test_a_thread_that_fails_keeps_the_others_in_order() -> None:
    def work(number: int) -> int:
        if number == 7:
            raise ValueError("seven")
        return number

    found = list(workers.in_order(work, range(50)))
    assert isinstance(found[7].exception(), ValueError)
    assert [f.result() for f in found if f.exception() is None] == [*range(7), *range(8, 50)]


@pytest.mark.parametrize(("width", "height"), [(300, 200), (64, 64), (30, 90), (24, 24)])
def test_resampling_is_transformers_for_siglip(width: int, height: int) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = image_tensor(Image.fromarray(grain), 24)
    processor = SiglipImageProcessorPil(size={"height": 24, "width": 24})
    given = processor(Image.fromarray(grain), return_tensors="pt")["pixel_values"][0]
    assert torch.equal(ours, ((given + 1) * 127.5).round().to(torch.uint8))
    # The other processor resamples with torch, which rounds once, whereas Pillow rounds twice.
    exact = F.interpolate(
        torch.from_numpy(grain).permute(2, 0, 1)[None].double(),
        (24, 24),
        mode="bicubic",
        antialias=True,
    )[0].clamp(0, 255)
    assert (ours - exact).abs().max() <= 1.5


def test_tensors_are_a_store_too() -> None:
    images = torch.randint(0, 256, (5, 3, 30, 30), dtype=torch.uint8)
    store = TensorStore(images)
    assert torch.equal(store.pixels([4, 1]), images[[4, 1]])
    assert torch.equal(store.pixels([4, 1], 30), images[[4, 1]])
    assert torch.equal(store.pixels([2], 24), resize(images[[2]].float() / 255, 24))
    assert torch.equal(shown(store, [3], 30), images[[3]].float() / 255)
    assert store.take([3, 3]).digest(1) == store.digest(3) != store.digest(2)
