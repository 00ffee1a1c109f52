"""TokenPrior: counting, smoothing, merging, files, and refused combinations."""

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from craft import Codebook, CodebookMismatchError, EncoderMismatchWarning, TokenPrior
from craft.runtime.stored_files import StoredFileError
from craft.runtime.stored_tensors import read_tensors
from tests.craft.runtime.broken_files import DAMAGE

SCHEMA: dict[str, Any] = {"codebook_fingerprint": "c" * 64, "encoder_hash": "e" * 64}


def codebook_of(size: int) -> Codebook:
    return Codebook(torch.eye(size), levels=2)


def test_counts_the_first_level_of_codes():
    codes = torch.tensor([[[0, 3], [2, 3]], [[2, 1], [2, 0]]])
    prior = TokenPrior.count([codes, codes[:1]], codebook_of(4), encoder_hash="e")
    assert prior.counts.tolist() == [2, 0, 4, 0]
    assert prior.total == 6
    second = TokenPrior.count([codes], codebook_of(4), encoder_hash="e", level=2)
    assert second.counts.tolist() == [1, 1, 0, 2]
    assert second.codebook_fingerprint == codebook_of(4).fingerprint


@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 6, 1)])
def test_update_takes_ids_and_codes(shape):
    ids = torch.arange(12) % 5
    prior = TokenPrior.empty(codebook_of(5), encoder_hash="e")
    prior.update(ids.view(shape))
    prior.update(ids[:0])
    assert torch.equal(prior.counts, ids.bincount(minlength=5))


def test_probabilities_are_smoothed_frequencies():
    prior = TokenPrior(torch.tensor([7, 0, 2]), **SCHEMA)
    expected = torch.tensor([8 / 12, 1 / 12, 3 / 12])
    assert torch.equal(prior.probabilities, expected)
    assert prior.probabilities.dtype == torch.float32
    prior.update(torch.tensor([1, 1, 1]))
    assert torch.equal(prior.probabilities, torch.tensor([8 / 15, 4 / 15, 3 / 15]))
    assert TokenPrior(torch.zeros(4).long(), **SCHEMA).probabilities.tolist() == [0.25] * 4
    half = TokenPrior(torch.tensor([1, 0]), smoothing=0.5, **SCHEMA)
    assert half.probabilities.tolist() == [0.75, 0.25]
    with pytest.raises(ValueError, match="nothing was counted"):
        _ = TokenPrior(torch.zeros(4).long(), smoothing=0, **SCHEMA).probabilities


def test_copies_the_callers_counts():
    counts = torch.tensor([1, 2])
    prior = TokenPrior(counts, **SCHEMA)
    counts.zero_()
    assert prior.total == 3


def test_adding_equals_counting_in_one_go():
    first, second = torch.randint(0, 9, (3, 5)), torch.randint(0, 9, (2, 5))
    schema: dict[str, Any] = {"codebook": codebook_of(9), "encoder_hash": "e"}
    merged = TokenPrior.count([first], **schema) + TokenPrior.count([second], **schema)
    assert torch.equal(merged.counts, TokenPrior.count([first, second], **schema).counts)
    assert merged.encoder_hash == "e"


def test_adding_refuses_mismatched_priors():
    counts = torch.zeros(4, dtype=torch.int64)
    prior = TokenPrior(counts, **SCHEMA)
    with pytest.raises(CodebookMismatchError, match="cccccccccccc, not of dddddddddddd"):
        _ = prior + TokenPrior(counts, **{**SCHEMA, "codebook_fingerprint": "d" * 64})
    for name, value in (("encoder_hash", "f"), ("level", 2), ("smoothing", 2.0)):
        with pytest.raises(ValueError, match=f"same {name}"):
            _ = prior + TokenPrior(counts, **{**SCHEMA, name: value})
    with pytest.raises(ValueError, match="same size, got 4 and 5"):
        _ = prior + TokenPrior(torch.zeros(5, dtype=torch.int64), **SCHEMA)


def test_save_and_load(tmp_path):
    prior = TokenPrior(torch.tensor([3, 0, 5]), level=2, smoothing=0.25, **SCHEMA)
    prior.save(tmp_path / "prior.safetensors")
    loaded = TokenPrior.load(tmp_path / "prior.safetensors")
    assert torch.equal(loaded.counts, prior.counts)
    assert repr(loaded) == repr(prior)
    assert torch.equal(loaded.probabilities, prior.probabilities)
    assert loaded.codebook_fingerprint == prior.codebook_fingerprint
    save_file({"counts": prior.counts}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a token prior"):
        TokenPrior.load(tmp_path / "other.safetensors")


def test_check_before_use(recwarn):
    codebook = Codebook(torch.randn(4, 2), 2)
    prior = TokenPrior.empty(codebook, encoder_hash="e" * 64)
    prior.check(codebook.fingerprint)
    prior.check(codebook.fingerprint, "e" * 64)
    assert not recwarn
    with pytest.raises(CodebookMismatchError, match="count it again"):
        prior.check(Codebook(torch.zeros(4, 2), 2).fingerprint, "e" * 64)
    with pytest.warns(EncoderMismatchWarning, match="eeeeeeeeeeee and is used with ffffffffffff"):
        prior.check(codebook.fingerprint, "f" * 64)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.tensor([0, 4]), r"in \[0, K\) with K = 4, got 4"),
        (torch.tensor([-1, 0]), r"got -1"),
        (torch.tensor([0, 1], dtype=torch.int32), r"must be int64"),
        (torch.zeros(1, 1, 1, 1, dtype=torch.int64), r"got \(1, 1, 1, 1\)"),
        (torch.zeros(1, 2, 0, dtype=torch.int64), r"have 0 levels, this prior counts 1"),
    ],
)
def test_update_refuses_wrong_codes(codes, message):
    prior = TokenPrior.empty(codebook_of(4), encoder_hash="e")
    with pytest.raises(ValueError, match=message):
        prior.update(codes)
    assert prior.total == 0


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        (torch.ones(3), {}, "counts must be .* int64, got .*float32"),
        (torch.tensor([1, -2]), {}, "counts must be >= 0, got -2"),
        (torch.tensor([1, 2]), {"level": 0}, "level counts from 1, got 0"),
        (torch.tensor([1, 2]), {"smoothing": -1.0}, "smoothing .* got -1.0"),
    ],
)
def test_refuses_unusable_arguments(counts, changes, message):
    with pytest.raises(ValueError, match=message):
        TokenPrior(counts, **SCHEMA | changes)


@pytest.fixture
def stored(tmp_path):
    TokenPrior(torch.tensor([5, 0, 2]), **SCHEMA).save(tmp_path / "prior.safetensors")
    return tmp_path / "prior.safetensors"


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_one_line(stored, damage):
    break_it, message = DAMAGE[damage]
    break_it(stored)
    with pytest.raises(StoredFileError) as error:
        TokenPrior.load(stored)
    assert str(error.value).startswith(f"{stored}, a token prior, ")
    assert message in str(error.value)


def rewrite(path, counts=None, **changes):
    found = read_tensors(path, "a token prior")
    counts = found.tensors["counts"].clone() if counts is None else counts
    metadata = {**found.metadata, **changes}
    save_file({"counts": counts}, path, {k: v for k, v in metadata.items() if v is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": torch.tensor([5, 0, 3])},
        {"smoothing": "9.0"},
        {"level": "2"},
        {"level": "two"},
        {"encoder_hash": "other"},
        {"codebook_fingerprint": None},
        {"checksum": None},
        {"counts": torch.tensor([5.0, 0, 2])},
    ],
)
def test_edited_files_are_refused(stored, changes):
    rewrite(stored, **changes)
    with pytest.raises(StoredFileError, match="is damaged or was edited"):
        TokenPrior.load(stored)


def test_files_of_earlier_versions_are_read(stored):
    rewrite(stored, format="craft-token-prior-1", checksum=None, precision=None)
    prior = TokenPrior.load(stored)
    assert prior.counts.tolist() == [5, 0, 2]
    assert prior.precision == "exact"


def test_a_checksum_is_verified_for_any_format(stored):
    """A flipped digit in the format must not disable the check of all others."""
    rewrite(stored, torch.tensor([5, 1, 2]), format="craft-token-prior-1")
    with pytest.raises(StoredFileError, match="does not match its checksum"):
        TokenPrior.load(stored)


@pytest.mark.parametrize("changes", [{"more": "1"}, {"checksun": "0"}])
def test_unknown_metadata_is_refused(stored, changes):
    rewrite(stored, **changes)
    with pytest.raises(StoredFileError, match="which no prior does"):
        TokenPrior.load(stored)
