"""Contrastive attention, VAQ and choice of layer, compared with loops over their definitions."""

import math

import pytest
import torch

from craft.decoding.evidence import (
    choose_layer,
    contrastive_attention,
    find_evidence,
    strongest_cells,
    visual_activation,
)
from craft.decoding.look import Look
from craft.settings.laser import LaserSettings


def looks(layers=5, heads=12, rows=4, columns=6):
    generator = torch.Generator().manual_seed(0)
    return tuple(
        exact(torch.rand(layers, heads, rows, columns, generator=generator) / (rows * columns))
        for _ in range(2)
    )


def exact(weights):
    """Weights without rounding error."""
    return Look(weights, torch.zeros_like(weights))


@pytest.mark.parametrize("k_head", [1, 8, 12, 40, "all"])
def test_evidence_follows_its_definition(k_head):
    asked, unasked = looks()
    found = find_evidence(asked, unasked, LaserSettings(k_head=k_head))
    count = 12 if k_head == "all" else min(k_head, 12)
    vaq, maps = [], []
    for with_query, without in zip(asked.weights.double(), unasked.weights.double(), strict=True):
        heads = []
        for a, b in zip(with_query, without, strict=True):
            contrast = [max(0.0, x) for x in (a - b).flatten().tolist()]
            heads.append((math.sqrt(sum(c * c for c in contrast)), contrast))
        best = sorted(heads, key=lambda head: -head[0])[:count]
        vaq.append(sum(norm for norm, _ in best) / count)
        maps.append([sum(c[p] for _, c in best) / count for p in range(24)])
    assert found.layer == max(range(5), key=lambda layer: vaq[layer])
    assert found.vaq.tolist() == pytest.approx(vaq, rel=1e-6)
    assert found.map.flatten().tolist() == pytest.approx(maps[found.layer], rel=1e-6, abs=1e-9)
    assert not found.degenerate


def test_permuting_heads_changes_nothing():
    asked, unasked = looks()
    found = find_evidence(asked, unasked, LaserSettings())
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    moved = find_evidence(
        exact(asked.weights[:, order]), exact(unasked.weights[:, order]), LaserSettings()
    )
    assert moved.layer == found.layer
    assert torch.equal(moved.vaq, found.vaq)
    torch.testing.assert_close(moved.map, found.map)


def test_identical_prompts_leave_no_evidence():
    asked, _ = looks()
    found = find_evidence(asked, asked, LaserSettings())
    assert found.degenerate
    assert found.map.sum() == 0


def test_differences_within_rounding_are_not_evidence():
    """The errors of both looks count, weight by weight."""
    asked, unasked = (torch.full((1, 1, 2, 2), 0.25) for _ in range(2))
    asked[0, 0, 0] += torch.tensor([2e-6, 4e-6])
    asked[0, 0, 1, 0] += 4e-6
    rounding = torch.full_like(asked, 1.5e-6)
    careful = rounding.clone()
    careful[0, 0, 1, 0] = 3e-6
    found = find_evidence(Look(asked, rounding), Look(unasked, careful), LaserSettings())
    assert found.map.nonzero().tolist() == [[0, 1]]
    assert find_evidence(
        Look(asked, rounding * 2), Look(unasked, careful * 2), LaserSettings()
    ).degenerate


def test_attention_independent_of_the_question_is_removed():
    asked, unasked = (torch.zeros(2, 4, 3, 3) for _ in range(2))
    asked[..., 0, 0] = unasked[..., 0, 0] = 0.9  # a sink
    asked[1, :, 2, 1] = 0.05
    found = find_evidence(exact(asked), exact(unasked), LaserSettings())
    assert found.layer == 1
    assert found.map.nonzero().tolist() == [[2, 1]]


def test_layers_can_be_limited_or_fixed_and_ties_go_to_the_lower():
    vaq = torch.tensor([3.0, 1.0, 2.0, 2.0, 0.5])
    assert choose_layer(vaq) == 0
    assert choose_layer(vaq, (1, 5)) == 2
    assert choose_layer(vaq, (3, 5)) == 3
    assert choose_layer(vaq, fixed_layer=4) == 4
    assert choose_layer(torch.zeros(3)) == 0
    with pytest.raises(ValueError, match="<= 5, got"):
        choose_layer(vaq, (0, 6))
    for layer in (5, -1):
        with pytest.raises(ValueError, match="this model of 5 layers"):
            choose_layer(vaq, fixed_layer=layer)


def test_only_heads_that_react_count():
    contrast = torch.zeros(2, 4, 6)
    contrast[0] = 0.2  # all heads a little
    contrast[1, 2] = 0.5  # one head much
    assert visual_activation(contrast, 1)[0].argmax() == 1
    assert visual_activation(contrast, "all")[0].argmax() == 0
    assert visual_activation(contrast, 1)[1].tolist()[1] == [2]


def test_nan_and_mismatched_attention_are_errors():
    asked, unasked = looks()
    with pytest.raises(ValueError, match="same shape"):
        contrastive_attention(asked, exact(unasked.weights[..., :3]))
    unasked.weights[2, 3, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="without the query contains NaN"):
        contrastive_attention(asked, unasked)


def test_a_map_that_is_not_finite_is_degenerate():
    asked, unasked = looks()
    asked.weights[0, 0, 0, 0] = torch.inf
    assert find_evidence(asked, unasked, LaserSettings()).degenerate


def test_strongest_cells():
    evidence = torch.tensor([[0.1, 0.5, 0.0], [0.5, 0.2, 0.0]])
    assert strongest_cells(evidence, 0.01).nonzero().tolist() == [[0, 1]]  # raster order on ties
    assert strongest_cells(evidence, 0.5).nonzero().tolist() == [[0, 1], [1, 0], [1, 1]]
    assert strongest_cells(evidence, 1.0).sum() == 4  # never a cell without evidence
    assert strongest_cells(torch.ones(5, 6), 0.1).sum() == 3
    assert strongest_cells(torch.ones(16, 16), 0.1).sum() == 26
