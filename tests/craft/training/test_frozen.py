"""A single changed bit in a frozen part is detected, whatever changed it."""

import pytest
import torch
from torch import nn

from craft.codebook import Codebook, CodebookMismatchError
from craft.training.proofs import FrozenProof


@pytest.fixture
def codebook():
    return Codebook(torch.randn(4, 3), 2)


def test_unchanged_parts_pass_and_are_reported(codebook):
    module = nn.Linear(2, 2).requires_grad_(False)
    hashes = FrozenProof(codebook, projector=module).check()
    assert set(hashes) == {"projector", "codebook"}
    assert hashes["codebook"] == codebook.fingerprint


def test_a_moved_weight_is_named_with_both_hashes(codebook):
    module = nn.Linear(2, 2).requires_grad_(False)
    proof = FrozenProof(
        codebook, language_model=nn.Linear(1, 1).requires_grad_(False), projector=module
    )
    before = proof.hashes["projector"]
    module.weight[0, 0] = module.weight[0, 0].nextafter(torch.tensor(9.0))
    with pytest.raises(RuntimeError, match=f"projector: {before} -> ") as error:
        proof.check()
    assert "language_model" not in str(error.value)


def test_a_changed_codeword_is_detected(codebook):
    proof = FrozenProof(codebook)
    codebook.on(torch.device("cpu"))._tensor[1, 1] += 1
    with pytest.raises(CodebookMismatchError, match="changed in memory"):
        proof.check()


def test_a_trainable_part_is_refused(codebook):
    with pytest.raises(ValueError, match="projector must be frozen but 2 of its parameters"):
        FrozenProof(codebook, projector=nn.Linear(2, 2))
