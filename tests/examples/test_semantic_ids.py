"""The example of semantic IDs runs offline and leaves no two items with one ID."""

from __future__ import annotations

import torch

from craft.codebook import Codebook
from examples import semantic_ids


def test_every_item_has_an_id_of_its_own(capsys) -> None:
    ids = semantic_ids.main()
    assert len(set(ids)) == len(ids) > 400
    said = capsys.readouterr().out
    assert "share an ID with another" in said


def test_a_later_item_takes_the_nearest_free_codeword() -> None:
    codebook = Codebook(torch.tensor([[[0.0], [9.0], [9.0]], [[0.0], [6.5], [5.0]]]))
    z, codes = torch.zeros(3, 1), torch.zeros(3, 2, dtype=torch.int64)
    assert semantic_ids.without_collisions(z, codebook, codes) == [(0, 0), (0, 2), (0, 1)]
