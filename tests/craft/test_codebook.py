"""Codebook: identity by content, immutability, files that are checked when loaded."""

import copy
import hashlib
import pickle
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import craft
from craft import Codebook, CodebookMismatchError
from craft.codebook import CodebookSubset
from craft.runtime.stored_files import StoredFileError
from tests.craft.runtime.broken_files import DAMAGE


@pytest.fixture
def table():
    return torch.randn(32, 6, generator=torch.Generator().manual_seed(0))


def flip_lowest_bit(table, index=0):
    flipped = table.clone()
    flipped.view(torch.int32).view(-1)[index] ^= 1
    return flipped


def test_properties(table):
    shared = Codebook(table, levels=4)
    assert (shared.levels, shared.size, shared.dim, shared.shared) == (4, 32, 6, True)
    separate = Codebook(table.view(4, 8, 6))
    assert (separate.levels, separate.size, separate.dim, separate.shared) == (4, 8, 6, False)
    assert separate.table.shape == (4, 8, 6)


def test_fingerprint_covers_values_shape_levels_and_sharing(table):
    reference = Codebook(table, 4)
    assert len(reference.fingerprint) == 64
    assert reference.fingerprint == Codebook(table.clone(), 4).fingerprint
    others = [
        Codebook(flip_lowest_bit(table), 4),
        Codebook(flip_lowest_bit(table, -1), 4),
        Codebook(table, 3),
        Codebook(table.view(16, 12), 4),
        Codebook(table[None], 1),
        Codebook(table, 1),
    ]
    assert len({reference, *others}) == 7


def test_fingerprint_is_stable_across_versions():
    """Packs written today must always be recognised."""
    header = b'{"format": "craft-codebook-1", "levels": 2, "shape": [3, 2]}'
    values = struct.pack("<6f", 0, 1, 2, 3, 4, 5)
    codebook = Codebook(torch.arange(6.0).view(3, 2), 2)
    assert codebook.fingerprint == hashlib.sha256(header + values).hexdigest()


def test_half_precision_tables_convert_exactly(table):
    half = table.bfloat16()
    assert Codebook(half, 4) == Codebook(half.float(), 4)


def test_cannot_be_changed_from_outside(table):
    original = table.clone()
    codebook = Codebook(table, 4)
    table.zero_()
    for given in (codebook.table, codebook.on(torch.device("cpu")).tensor):
        given.data.zero_()
        given.numpy().fill(7)
        torch.from_dlpack(given).fill_(5)
    part = codebook.restrict(CodebookSubset(0.5))
    assert part.used is not None
    used = part.used
    part.used.zero_()
    assert torch.equal(part.used, used)
    assert torch.equal(codebook.table, original)
    for name in ("table", "levels", "fingerprint", "used"):
        with pytest.raises(AttributeError):
            setattr(codebook, name, None)
    codebook.verify()


def test_verify_notices_tampering(table):
    codebook = Codebook(table, 4)
    codebook.on(torch.device("cpu"))._tensor.data[3, 2] += 1
    with pytest.raises(CodebookMismatchError, match=codebook.fingerprint[:12]):
        codebook.verify()


def test_equality_hash_pickle_and_deepcopy(table):
    codebook = Codebook(table, 4)
    for twin in (copy.deepcopy(codebook), pickle.loads(pickle.dumps(codebook)), Codebook(table, 4)):
        assert twin == codebook
        assert hash(twin) == hash(codebook)
        assert torch.equal(twin.table, codebook.table)
        assert twin.on(torch.device("cpu")) is not codebook.on(torch.device("cpu"))
    assert codebook != "codebook"


@pytest.mark.parametrize("shape", [(32, 6), (4, 8, 6)])
def test_save_and_load(table, tmp_path, shape):
    codebook = Codebook(table.view(shape), 4)
    codebook.save(tmp_path / "codebook.safetensors")
    loaded = Codebook.load(tmp_path / "codebook.safetensors")
    assert loaded == codebook
    assert loaded.levels == 4
    assert torch.equal(loaded.table, codebook.table)


def test_load_refuses_one_flipped_bit(table, tmp_path):
    path = tmp_path / "codebook.safetensors"
    codebook = Codebook(table, 4)
    codebook.save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    damaged = Codebook(flip_lowest_bit(table, 100), 4)
    save_file({"codebook": damaged.table}, path, metadata)
    with pytest.raises(CodebookMismatchError) as error:
        Codebook.load(path)
    assert codebook.fingerprint[:12] in str(error.value)
    assert damaged.fingerprint[:12] in str(error.value)


def test_load_refuses_other_files(table, tmp_path):
    save_file({"codebook": table}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"not a codebook file.*Codebook\(table, levels\)"):
        Codebook.load(tmp_path / "other.safetensors")


def test_require_fingerprint(table):
    codebook, other = Codebook(table, 4), Codebook(-table, 4)
    codebook.require_fingerprint(codebook.fingerprint)
    with pytest.raises(CodebookMismatchError) as error:
        codebook.require_fingerprint(other.fingerprint)
    assert codebook.fingerprint[:12] in str(error.value)
    assert other.fingerprint[:12] in str(error.value)
    with pytest.raises(CodebookMismatchError):  # short forms are for display only
        codebook.require_fingerprint(codebook.fingerprint[:12])


@pytest.mark.parametrize("shape", [(32, 6), (4, 8, 6)])
def test_lookup_sums_codewords(table, shape):
    codebook = Codebook(table.view(shape), 4)
    codes = torch.randint(0, codebook.size, (2, 5, 4))
    for levels in (1, 2, 4):
        expected = torch.zeros(2, 5, 6)
        for level in range(levels):
            words = codebook.table if codebook.shared else codebook.table[level]
            expected = expected + words[codes[..., level]]
        assert torch.equal(codebook.lookup(codes[..., :levels]), expected)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)])
def test_lookup_of_each_level(table, shape):
    for codebook in (Codebook(table, 4), Codebook(torch.stack([table, table.flip(0)]))):
        codes = torch.randint(0, len(table), (*shape, codebook.levels))
        for levels in range(1, codebook.levels + 1):
            found = codebook.lookup_levels(codes[..., :levels])
            tables = codebook.table.expand(codebook.levels, *table.shape)
            expected = [tables[i][codes[..., i]] for i in range(levels)]
            assert torch.equal(found, torch.stack(expected, -2))


def test_lookup_refuses_wrong_codes(table):
    codebook = Codebook(table, 2)
    with pytest.raises(ValueError, match=r"1 <= l <= 2, got \(5, 3\)"):
        codebook.lookup(torch.zeros(5, 3, dtype=torch.int64))
    for code in (-1, 32):
        with pytest.raises(IndexError):
            codebook.lookup(torch.tensor([[0, code]]))


def test_refuses_unusable_tables(table):
    with pytest.raises(ValueError, match="levels is needed"):
        Codebook(table)
    with pytest.raises(ValueError, match="levels"):
        Codebook(table.view(4, 8, 6), 3)
    with pytest.raises(ValueError, match="codebook"):
        Codebook(table.double(), 4)
    with pytest.raises(ValueError, match="codebook"):
        Codebook(torch.full((3, 2), torch.nan), 4)


@pytest.mark.parametrize("kind", ["random", "stride"])
@pytest.mark.parametrize("shape", [(40, 6), (3, 40, 6)])
def test_a_subset_never_uses_other_codewords(shape, kind):
    """As defined: the other codewords' distances are infinite (methods A11)."""
    generator = torch.Generator().manual_seed(3)
    whole = Codebook(torch.randn(shape, generator=generator), 3)
    part = whole.restrict(CodebookSubset(0.25, kind, seed=1))
    used = part.used
    assert used is not None
    assert len(used) == 10
    assert torch.equal(used, used.unique())
    z = torch.randn(50, 6, generator=generator)
    found = craft.quantize(z, part)
    residual = z.clone()
    for level in range(3):
        table = whole.table.expand(3, 40, 6)[level]
        distances = torch.cdist(residual.double(), table.double())
        distances[:, [i for i in range(40) if i not in used]] = torch.inf
        assert torch.equal(found.codes[:, level], distances.argmin(1))
        residual = residual - table[distances.argmin(1)]
    assert torch.equal(part.lookup(found.codes), found.quantized)


def test_a_subset_is_the_same_codebook(table):
    whole = Codebook(table, 4)
    part = whole.restrict(CodebookSubset(0.5))
    assert part == whole
    assert part.size == 32
    assert "16 of them used" in repr(part)
    assert part.used is not None
    again = pickle.loads(pickle.dumps(part))
    assert torch.equal(again.used, part.used)
    assert copy.deepcopy(part).subset == CodebookSubset(0.5)
    assert part.restrict(None).used is None
    assert whole.restrict(None) is whole
    assert not torch.equal(CodebookSubset(0.5, seed=1).ids(32), part.used)
    part.verify()
    part.on(torch.device("cpu"))._tensor[0, 0] += 1
    with pytest.raises(CodebookMismatchError, match="changed in memory"):
        part.verify()


def test_a_subset_keeps_at_least_one_codeword_and_all_with_fraction_one():
    assert len(CodebookSubset(1e-9).ids(32)) == 1
    for kind in ("random", "stride"):
        assert torch.equal(CodebookSubset(1.0, kind).ids(32), torch.arange(32))


@pytest.mark.parametrize("bad", [{"fraction": 0}, {"fraction": 1.5}, {"fraction": 1, "kind": "x"}])
def test_invalid_subsets_are_refused(bad):
    with pytest.raises(ValueError, match=r"must be .*got"):
        CodebookSubset(**bad)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_give_one_line(tmp_path, damage):
    path = tmp_path / "codebook.safetensors"
    Codebook(torch.randn(4, 2), 2).save(path)
    break_it, message = DAMAGE[damage]
    break_it(path)
    with pytest.raises(StoredFileError) as error:
        Codebook.load(path)
    assert str(error.value).startswith(f"{path}, the codebook, ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        (torch.zeros(2, 3, 4), {"levels": "7"}),
        (torch.zeros(4, 3), {"levels": "many"}),
        (torch.zeros(4), {"levels": "2"}),
        (torch.zeros(4, 3), {}),
    ],
)
def test_files_with_invalid_contents_are_refused(tmp_path, table, changes):
    metadata = {"format": "craft-codebook-1", "fingerprint": "0" * 64, **changes}
    save_file({"codebook": table}, tmp_path / "codebook.safetensors", metadata)
    with pytest.raises(StoredFileError, match="the codebook, is damaged or was edited"):
        Codebook.load(tmp_path / "codebook.safetensors")
