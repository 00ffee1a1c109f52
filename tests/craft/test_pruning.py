"""craft.prune: exact budgets, gathering, the bypass, the selectors and the reported exponent."""

import math

import pytest
import torch
from torch import Tensor

import craft
import craft_kernels
from craft import Codebook, TokenPrior

SELECTORS = ("full", "quota_residual", "quota_random", "random")
GRID = (6, 7)
Image = tuple[Tensor, Tensor, TokenPrior]  # codes, residuals, prior


@pytest.fixture
def image() -> Image:
    """Codes [3, 42, 4], residuals [3, 42, 4] and a prior of a real quantisation."""
    generator = torch.Generator().manual_seed(0)
    codebook = Codebook(torch.randn(12, 5, generator=generator), 4)
    found = craft.quantize(torch.randn(3, 42, 5, generator=generator), codebook)
    prior = TokenPrior.count([found.codes], codebook, encoder_hash="e")
    return found.codes, found.residual_sq_norms, prior


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("keep_ratio", [1e-9, 0.1, 0.33, 0.5, 0.8, 0.99, 1.0])
def test_keeps_exactly_m_tokens_in_raster_order(image: Image, keep_ratio, selector):
    pruned = craft.prune(*image, GRID, keep_ratio=keep_ratio, selector=selector)
    assert pruned.indices.shape == (3, craft.keep_count(42, keep_ratio))
    assert (pruned.indices.diff(dim=1) > 0).all()
    assert pruned.indices.min() >= 0
    assert pruned.indices.max() < 42


@pytest.mark.parametrize(
    ("count", "keep_ratio", "kept"),
    [(256, 0.8, 205), (5, 0.5, 3), (7, 0.5, 4), (10, 0.04, 1), (729, 0.5, 365), (1, 0.2, 1)],
)
def test_keep_count_rounds_half_up(count, keep_ratio, kept):
    assert craft.keep_count(count, keep_ratio) == kept


def test_gathers_tensors_of_any_shape_and_dtype(image: Image):
    tensors = (
        torch.randn(3, 42, 8),
        torch.randn(3, 42, 2, 3).bfloat16(),
        torch.arange(3 * 42).view(3, 42),
        torch.rand(3, 42) < 0.5,
        torch.randn(3, 8, 42).transpose(1, 2),
    )
    pruned = craft.prune(*image, GRID, *tensors, keep_ratio=0.4)
    for tensor, gathered in zip(tensors, pruned.tensors, strict=True):
        assert gathered.dtype == tensor.dtype
        for b in range(3):
            assert torch.equal(gathered[b], tensor[b][pruned.indices[b]])


def test_gradients_reach_the_kept_tokens_only(image: Image):
    tokens = torch.randn(3, 42, 8, requires_grad=True)
    pruned = craft.prune(*image, GRID, tokens, keep_ratio=0.5)
    upstream = torch.randn(3, 21, 8)
    pruned.tensors[0].backward(upstream)
    expected = torch.zeros(3, 42, 8)
    for b in range(3):
        expected[b, pruned.indices[b]] = upstream[b]
    assert tokens.grad is not None
    assert torch.equal(tokens.grad, expected)


@pytest.mark.parametrize("budget", [{"keep_ratio": 1.0}, {"keep_ratio": 0.99}, {"keep": 42}])
def test_keeping_everything_is_a_bypass(image: Image, budget):
    tokens, mask = torch.randn(3, 42, 8), torch.ones(3, 42)
    pruned = craft.prune(*image, GRID, tokens, mask, **budget)
    assert pruned.tensors[0] is tokens
    assert pruned.tensors[1] is mask
    assert torch.equal(pruned.indices, torch.arange(42).expand(3, 42))


@pytest.mark.parametrize("selector", SELECTORS)
def test_smaller_budgets_are_subsets(image: Image, selector):
    larger = set(range(42))
    for keep in range(41, 0, -1):
        kept = craft.prune(*image, GRID, keep=keep, selector=selector).indices[0].tolist()
        assert set(kept) < larger
        larger = set(kept)


def test_one_order_serves_every_budget(image: Image):
    order = craft.prune_order(*image, GRID)
    for keep_ratio in (0.2, 0.6, 0.8):
        again = craft.prune(*image, GRID, keep_ratio=keep_ratio, order=order)
        assert torch.equal(again.indices, craft.prune(*image, GRID, keep_ratio=keep_ratio).indices)


def test_accepts_ids_and_tensor_priors(image: Image):
    codes, norms, prior = image
    expected = craft.prune_order(codes, norms, prior, GRID)
    plain = codes[..., 0], norms[..., 0], prior.probabilities
    assert torch.equal(craft.prune_order(*plain, GRID), expected)
    assert torch.equal(craft_kernels.prune_order(*plain, GRID), expected)
    assert torch.equal(craft.prune_order(*image, GRID, impl="reference"), expected)


def test_quota_selectors_keep_as_many_of_each_id(image: Image):
    """The ablation changes which tokens of an id are kept, not how many."""
    ids = image[0][..., 0]
    orders = {s: craft.prune_order(*image, GRID, selector=s) for s in SELECTORS[:3]}
    for keep in (20, 30, 40):  # at most 12 ids, so above the floor
        counts = [
            torch.nn.functional.one_hot(ids.gather(1, order[:, :keep]), 12).sum(dim=1)
            for order in orders.values()
        ]
        assert torch.equal(counts[0], counts[1])
        assert torch.equal(counts[0], counts[2])
    assert not torch.equal(orders["full"], orders["quota_residual"])
    assert not torch.equal(orders["full"], orders["quota_random"])


def test_quota_residual_keeps_the_largest_residuals():
    ids = torch.tensor([[0, 0, 0, 0, 1, 1]])
    residual_sq = torch.tensor([[1.0, 4, 2, 3, 1, 2]])
    pruned = craft.prune(
        ids, residual_sq, torch.tensor([0.9, 0.1]), (2, 3), keep=4, selector="quota_residual"
    )
    assert pruned.indices.tolist() == [[1, 3, 4, 5]]


@pytest.mark.parametrize("selector", ["random", "quota_random"])
def test_random_selection_depends_only_on_seed_and_image(image: Image, selector):
    codes, norms, prior = image
    order = craft.prune_order(*image, GRID, selector=selector, seed=7)
    assert torch.equal(order, craft.prune_order(*image, GRID, selector=selector, seed=7))
    assert not torch.equal(order, craft.prune_order(*image, GRID, selector=selector, seed=8))
    for i in range(3):
        batch = codes[i : i + 1], norms[i : i + 1], prior
        for index in (i, torch.tensor([i])):
            alone = craft.prune_order(*batch, GRID, selector=selector, seed=7, image_index=index)
            assert torch.equal(alone, order[i : i + 1])
    same = craft.prune_order(
        codes[:1].repeat(4, 1, 1), norms[:1].repeat(4, 1, 1), prior, GRID, selector=selector
    )
    assert len({tuple(row) for row in same.tolist()}) == 4


def test_random_selection_is_uniform():
    ids = torch.zeros(4000, 10, dtype=torch.int64)
    order = craft.prune_order(ids, ids.float(), torch.ones(1), (2, 5), selector="random")
    places = torch.nn.functional.one_hot(order, 10).double().mean(dim=0)
    # Every token is at every place with probability 0.1; the standard error is 0.0047.
    assert (places - 0.1).abs().max() < 5 * 0.0047
    keys = order[1:] == order[:-1]
    assert abs(keys.double().mean().item() - 0.1) < 0.01


def test_report_of_the_golden_case():
    ids = torch.tensor([[0] * 5 + [1] * 2 + [2]])
    prior = torch.tensor([0.5, 0.1, 0.01])
    arguments = ids, torch.rand(1, 8), prior, (2, 4)
    expected = {8: (0, False), 6: (0.1306, False), 3: (0.4114, False), 2: (math.inf, True)}
    for keep, (gamma, floor_hit) in expected.items():
        pruned = craft.prune(*arguments, keep=keep, report=True)
        assert pruned.gamma_star is not None
        assert pruned.floor_hit is not None
        assert pruned.gamma_star.item() == pytest.approx(gamma, abs=5e-5)
        assert pruned.floor_hit.item() is floor_hit


def test_report_reproduces_the_quotas(image: Image):
    """ceil(n w^gamma) just above gamma_star gives the kept tokens, unless critical values tie."""
    codes, _, prior = image
    ids, probabilities = codes[..., 0], prior.probabilities.double()
    order = craft.prune_order(*image, GRID)
    checked = 0
    for keep in range(12, 42):
        pruned = craft.prune(*image, GRID, keep=keep, order=order, report=True)
        assert pruned.gamma_star is not None
        assert pruned.floor_hit is not None
        for b in range(3):
            gamma = pruned.gamma_star[b].item()
            n = ids[b].bincount(minlength=12).double()
            assert pruned.floor_hit[b].item() is (keep < (n > 0).sum().item())
            if math.isinf(gamma):
                continue
            weights = probabilities[n > 0].min() / probabilities
            quotas = torch.ceil(n * weights**gamma - 1e-9).clamp(max=n)
            if quotas.sum() == keep:
                kept = ids[b][pruned.indices[b]].bincount(minlength=12)
                assert torch.equal(kept, quotas.long())
                checked += 1
    assert checked > 30


def test_empty_batch():
    none = torch.empty(0, 6, dtype=torch.int64)
    pruned = craft.prune(none, none.float(), torch.ones(3), (2, 3), none, keep=2, report=True)
    assert pruned.indices.shape == (0, 2)
    assert pruned.tensors[0].shape == (0, 2)
    assert pruned.gamma_star is not None
    assert pruned.gamma_star.shape == (0,)


def test_compiles_into_one_graph(image: Image):
    torch._dynamo.reset()
    codes, norms, prior = image
    probabilities = prior.probabilities
    tokens = torch.randn(3, 42, 8)

    def forward(codes, norms, tokens):
        return craft.prune(codes, norms, probabilities, GRID, tokens, keep_ratio=0.5).tensors[0]

    compiled = torch.compile(forward, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(codes, norms, tokens), forward(codes, norms, tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_ratio": 0.0}, r"keep_ratio must be in \(0, 1\], got 0.0"),
        ({"keep_ratio": 1.01}, r"keep_ratio must be in \(0, 1\], got 1.01"),
        ({"keep_ratio": math.nan}, r"keep_ratio must be in \(0, 1\], got nan"),
        ({"keep": 0}, r"keep must be in 1..N with N = 42, got 0"),
        ({"keep": 43}, r"keep must be in 1..N with N = 42, got 43"),
        ({}, r"give one of keep_ratio and keep, got keep_ratio=None, keep=None"),
        ({"keep": 4, "keep_ratio": 0.5}, r"give one of keep_ratio and keep"),
        ({"keep": 4, "selector": "best"}, r"selector must be one of 'full'.*got 'best'"),
        ({"keep": 4, "selector": "random", "report": True}, r"report=True needs a selector"),
        ({"keep": 4, "order": torch.zeros(3, 41)}, r"order must be .*\(3, 42\), got \(3, 41\)"),
        (
            {"keep": 4, "selector": "random", "image_index": torch.zeros(2)},
            r"image_index must be \[B\] = \[3\], got \(2,\)",
        ),
    ],
)
def test_errors_name_argument_value_and_expectation(image: Image, options, message):
    with pytest.raises(ValueError, match=message):
        craft.prune(*image, GRID, **options)


def test_refuses_mismatched_tensors_and_priors(image: Image):
    codes, norms, prior = image
    with pytest.raises(ValueError, match=r"tensors\[1\] must be .* 3, 42, got \(3, 41\)"):
        craft.prune(*image, GRID, torch.ones(3, 42), torch.ones(3, 41), keep=4)
    with pytest.raises(ValueError, match=r"codes must be \[B, N, L\] or \[B, N\], got \(42,\)"):
        craft.prune(codes[0, :, 0], norms, prior, GRID, keep=4)
    second = TokenPrior(prior.counts, level=2, codebook_fingerprint="c", encoder_hash="e")
    with pytest.raises(ValueError, match="first-level codes, got level 2"):
        craft.prune(codes, norms, second, GRID, keep=4)
