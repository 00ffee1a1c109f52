"""The pruning order: its definition, its invariants, its implementations against each other."""

import contextlib
import math
import random

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from craft_kernels import prune_order
from craft_kernels.backends import native_module
from craft_kernels.prune import reference, tables
from craft_kernels.prune.arguments import _all_fine, check_values

IMPLS = ("reference", "native")
GOLDEN_IDS = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 2]])  # A x5, B x2, C x1
GOLDEN_PRIOR = torch.tensor([0.5, 0.1, 0.01])


def random_case(seed: int, batch: int = 2, side: int = 12):
    """Grids of any shape; few and many IDs; continuous, tied and extreme cues and priors."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    grid = (rng.randint(1, side), rng.randint(1, side))
    tokens = grid[0] * grid[1]
    size = rng.choice([1, 2, 3, 10, 60, 1000])
    ids = torch.randint(0, size, (batch, tokens))
    if rng.random() < 0.3:
        ids = (size * torch.rand(batch, tokens) ** 4).long()
    residual_sq = rng.choice(
        [
            torch.rand(batch, tokens),
            torch.randint(0, 3, (batch, tokens)).float(),
            torch.zeros(batch, tokens),
            torch.rand(batch, tokens) * 1e-38,
            torch.exp(60 * torch.randn(batch, tokens)).clamp(max=3e38),
        ]
    )
    prior = rng.choice(
        [
            torch.rand(size) + 1e-6,
            torch.randint(1, 9, (size,)) / 512,
            torch.full((size,), 0.1),
            torch.exp(-40 * torch.rand(size)),
            1 + torch.randint(0, 4, (size,)) * 2.0**-23,
        ]
    )
    options = {
        "neighbors": rng.choice([1, 2, 4, 7, 10**6]),
        "isolation_weight": rng.choice([0.0, 0.3, 0.5, 1.0]),
    }
    return ids, residual_sq, prior, grid, options


def kept_counts(ids: Tensor, order: Tensor, kept: int, size: int) -> Tensor:
    """[B, K]: how many tokens of each ID the first `kept` of the order are."""
    chosen = ids.gather(1, order[:, :kept])
    return torch.nn.functional.one_hot(chosen, size).sum(dim=1)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    ("kept", "quotas"), [(8, (5, 2, 1)), (6, (3, 2, 1)), (3, (1, 1, 1)), (2, (0, 1, 1))]
)
def test_golden_case(impl, kept, quotas):
    order = prune_order(GOLDEN_IDS, torch.rand(1, 8), GOLDEN_PRIOR, (2, 4), impl=impl)
    assert kept_counts(GOLDEN_IDS, order, kept, 3).tolist() == [list(quotas)]


def test_golden_critical_value():
    """At M = 6 the largest critical value not kept is A's fourth slot, ln(5/3) / ln 50 = .1306."""
    logs = tables.log_counts(5)
    log_prior = tables.fixed_log(GOLDEN_PRIOR)
    gamma = ((logs[5] - logs[3]) / (log_prior[0] - log_prior[2])).item()
    assert gamma == pytest.approx(math.log(5 / 3) / math.log(50), abs=1e-8)
    assert round(gamma, 4) == 0.1306


@pytest.mark.parametrize(("impl", "cases"), [("native", 1500), ("reference", 60)])
def test_prefixes_equal_the_ceil_rule(impl, cases):
    """For any gamma, ceil(n w^gamma) tokens of each ID are the prefix of that many tokens."""
    checked = 0
    for seed in range(cases):
        rng = random.Random(seed)
        torch.manual_seed(seed)
        size, grid = rng.randint(1, 30), (rng.randint(1, 12), rng.randint(1, 12))
        ids = torch.randint(0, size, (1, grid[0] * grid[1]))
        prior = torch.exp(-rng.choice([1, 6]) * torch.rand(size))
        order = prune_order(ids, torch.rand(ids.shape), prior, grid, impl=impl)
        n = ids[0].bincount(minlength=size).tolist()
        rarest = min(p for p, count in zip(prior.tolist(), n, strict=True) if count)
        for gamma in (rng.uniform(0, 0.5), rng.uniform(0, 2), rng.expovariate(0.2)):
            shares = [
                count * (rarest / p) ** gamma for p, count in zip(prior.tolist(), n, strict=True)
            ]
            if any(x > 0.5 and abs(x - round(x)) < 1e-6 and x != round(x) for x in shares):
                continue
            quotas = [max(1, math.ceil(x - 1e-9)) if x else 0 for x in shares]
            assert kept_counts(ids, order, sum(quotas), size)[0].tolist() == quotas
            checked += 1
    assert checked > 2 * cases


@pytest.mark.parametrize("seed", range(300))
def test_native_equals_reference(seed):
    ids, residual_sq, prior, grid, options = random_case(seed)
    expected = prune_order(ids, residual_sq, prior, grid, impl="reference", **options)
    found = prune_order(ids, residual_sq, prior, grid, impl="native", **options)
    assert torch.equal(found, expected)
    assert torch.equal(found.sort(dim=1).values[0], torch.arange(ids.shape[1]))


@pytest.mark.parametrize(
    "ids",
    [
        torch.zeros(1, 729, dtype=torch.int64),  # every walk on the grid is short
        torch.arange(729)[None],
        torch.arange(729)[None] // 19,  # runs of one ID, around the size where walking starts
        (torch.arange(729)[None] % 27 > 25).long(),  # one full column against the rest
        torch.arange(729)[None] % 13,
    ],
)
def test_native_equals_reference_on_a_large_grid(ids):
    residual_sq, prior = torch.rand(1, 729), torch.rand(729) + 1e-3
    orders = [prune_order(ids, residual_sq, prior, (27, 27), impl=impl) for impl in IMPLS]
    assert torch.equal(*orders)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "avx512_bf16", "amx"])
def test_every_instruction_set_gives_the_same_order(isa):
    module = native_module()
    usual = module.isa()
    try:
        module.use_isa(isa)
    except ValueError:
        pytest.skip(f"{isa} is not built in or not known to this processor")
    try:
        for seed in range(50):
            ids, residual_sq, prior, grid, options = random_case(seed)
            found = prune_order(ids, residual_sq, prior, grid, impl="native", **options)
            expected = reference.prune_order(ids, residual_sq, prior, grid, **options)
            assert torch.equal(found, expected)
    finally:
        module.use_isa(usual)


def test_threads_and_batch_do_not_matter():
    torch.manual_seed(0)
    ids, residual_sq = torch.randint(0, 40, (33, 256)), torch.rand(33, 256)
    prior = torch.rand(40) + 0.01
    shuffle = torch.randperm(33)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        order = prune_order(ids, residual_sq, prior, (16, 16), impl="native")
        torch.set_num_threads(2)
        for _ in range(20):
            again = prune_order(ids[shuffle], residual_sq[shuffle], prior, (16, 16), impl="native")
            assert torch.equal(again, order[shuffle])
    finally:
        torch.set_num_threads(threads)
    alone = prune_order(ids[5:6], residual_sq[5:6], prior, (16, 16))
    assert torch.equal(alone, order[5:6])


@pytest.mark.parametrize("impl", IMPLS)
def test_a_common_factor_of_the_prior_changes_nothing(impl):
    torch.manual_seed(1)
    ids, residual_sq = torch.randint(0, 20, (4, 64)), torch.rand(4, 64)
    counts = torch.randint(1, 1000, (20,)).float()
    order = prune_order(ids, residual_sq, counts, (8, 8), impl=impl)
    for factor in (2.0**-10, 2.0**20, 3.0):
        assert torch.equal(prune_order(ids, residual_sq, factor * counts, (8, 8), impl=impl), order)


@pytest.mark.parametrize("impl", IMPLS)
def test_the_rarer_of_two_equally_large_ids_keeps_more(impl):
    torch.manual_seed(2)
    ids = torch.arange(8).repeat(8)[torch.randperm(64)][None]  # 8 IDs, 8 tokens each
    prior = torch.rand(8) + 0.01
    order = prune_order(ids, torch.rand(1, 64), prior, (8, 8), impl=impl)
    rarest_first = prior.argsort()
    for kept in range(1, 65):
        counts = kept_counts(ids, order, kept, 8)[0][rarest_first]
        assert (counts.diff() <= 0).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_equal_critical_values_fall_to_score_then_raster(impl):
    """n/c = 4/2 and 2/1 with one prior are one critical value, though ln 4 - ln 2 is rounded."""
    ids = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 3]])  # 6/4 = 3/2
    prior = torch.tensor([0.3, 0.3, 0.001, 0.7])
    residual_sq = torch.tensor([[6.0, 5, 4, 3, 2, 1, 3, 2, 1, 0, 1, 2, 3, 4, 5]])
    order = prune_order(ids, residual_sq, prior, (1, 15), isolation_weight=0, impl=impl)
    rank = order[0].argsort()
    # Slot 4 of ID 0 scores 1/5, slot 2 of ID 1 scores 0; both are dropped at ln 1.5 / ln 300.
    assert rank[8] == rank[4] + 1
    # Slot 2 of ID 0 and slot 1 of ID 1 are both at ln 3 / ln 300, scores 3/5 and 1/2.
    assert rank[7] == rank[2] + 1
    flat = prune_order(ids, torch.ones(1, 15), prior, (1, 15), isolation_weight=0, impl=impl)
    rank = flat[0].argsort()
    assert rank[2] + 1 == rank[7]
    assert rank[4] + 1 == rank[8]


@pytest.mark.parametrize("impl", IMPLS)
def test_powers_of_two_tie_across_ids(impl):
    """ln 2 / ln 2 = ln 4 / ln 4, for priors of 2 and 4 times the smallest: the rarer first."""
    ids = torch.tensor([[0, 1, 1, 2, 2, 2, 2]])
    prior = torch.tensor([1.0, 2.0, 4.0]) / 1000
    order = prune_order(ids, torch.zeros(1, 7), prior, (1, 7), isolation_weight=0, impl=impl)
    # Critical values: ID 1 [1], ID 2 [1, 1/2, ln(4/3)/ln 4].
    assert order.tolist() == [[0, 1, 3, 2, 4, 5, 6]]


@pytest.mark.parametrize("impl", IMPLS)
def test_below_the_floor_frequent_ids_go_first(impl):
    ids = torch.tensor([[4, 2, 0, 1, 3, 1]])
    prior = torch.tensor([0.05, 0.4, 0.3, 0.2, 0.1])
    order = prune_order(ids, torch.zeros(1, 6), prior, (2, 3), impl=impl)
    assert ids.gather(1, order)[0, :5].tolist() == [0, 4, 3, 2, 1]


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_within_an_id_the_cues_decide(weight):
    """One ID alone is ordered by its score, here from float64 ranks and distances."""
    torch.manual_seed(3)
    residual_sq = torch.rand(1, 30)
    ids = (torch.rand(1, 30) < 0.5).long()
    prior = torch.tensor([0.1, 0.9])
    order = prune_order(ids, residual_sq, prior, (5, 6), isolation_weight=weight)[0]
    for code in (0, 1):
        at = (ids[0] == code).nonzero().flatten()
        place = torch.stack([at // 6, at % 6], dim=1).double()
        nearest = torch.cdist(place, place).sort(dim=1).values[:, 1:5].mean(dim=1)
        nearest = (nearest * 1e9).round()  # equal distances, whatever the order they were added in
        score = torch.zeros(len(at))
        for share, cue in ((1 - weight, residual_sq[0][at]), (weight, nearest)):
            less, equal = (cue[:, None] > cue).sum(dim=1), (cue[:, None] == cue).sum(dim=1)
            score += share * (less + (equal - 1) / 2)
        expected = at[torch.argsort(score, descending=True, stable=True)]
        assert [i for i in order.tolist() if ids[0, i] == code] == expected.tolist()


@pytest.mark.parametrize("neighbors", [1, 4, 100])
def test_isolation_against_float64(neighbors):
    torch.manual_seed(4)
    positions = torch.randperm(9 * 14)[:50].sort().values
    place = torch.stack([positions // 14, positions % 14], dim=1).double()
    expected = torch.cdist(place, place).sort(dim=1).values[:, 1 : neighbors + 1].sum(dim=1)
    units = reference.isolation(positions, (9, 14), neighbors)
    found = units.double() / 2**tables.DISTANCE_UNIT_BITS
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_log_tables_are_accurate_and_additive():
    x = torch.cat([torch.rand(2000), torch.rand(2000) * 1e-40, torch.exp(80 * torch.randn(2000))])
    x = x[(x > 0) & (x < math.inf)]
    found = tables.fixed_log(x).double() / 2**tables.LOG_UNIT_BITS
    torch.testing.assert_close(found, x.double().log(), rtol=0, atol=5e-13)
    assert (tables.fixed_log(x.unique()).diff() > 0).all()  # distinct floats stay distinct
    logs = tables.log_counts(729)
    expected = torch.arange(1, 730).double().log()
    torch.testing.assert_close(
        logs[1:].double() / 2**tables.LOG_UNIT_BITS, expected, rtol=0, atol=5e-13
    )
    for a in range(1, 28):
        assert torch.equal(logs[a : 27 * a + 1 : a], logs[a] + logs[1:28])


def test_distances_are_additive():
    table = tables.distances(9, 9)
    assert table[0].tolist() == [i << tables.DISTANCE_UNIT_BITS for i in range(9)]
    assert table[3, 4] == table[0, 5]
    assert table[2, 2] == 2 * table[1, 1]
    assert table[6, 3] == 3 * table[2, 1]


def test_empty_single_and_non_contiguous():
    prior = torch.tensor([0.5, 0.5])
    for impl in IMPLS:
        none = prune_order(
            torch.empty(0, 6, dtype=torch.int64), torch.empty(0, 6), prior, (2, 3), impl=impl
        )
        assert none.shape == (0, 6)
        assert none.dtype == torch.int64
        one = prune_order(torch.tensor([[1]]), torch.ones(1, 1), prior, (1, 1), impl=impl)
        assert one.tolist() == [[0]]
        codes = torch.randint(0, 2, (3, 12, 4))
        norms = torch.rand(3, 12, 4)
        wide_prior = torch.rand(4)[::2] + 0.1
        strided = prune_order(codes[..., 0], norms[..., 0], wide_prior, (3, 4), impl=impl)
        packed = prune_order(
            codes[..., 0].contiguous(),
            norms[..., 0].contiguous(),
            wide_prior.contiguous(),
            (3, 4),
            impl=impl,
        )
        assert torch.equal(strided, packed)
        assert strided.is_contiguous()


def test_negative_zero_is_zero():
    ids = torch.zeros(1, 4, dtype=torch.int64)
    zeros = torch.tensor([[0.0, -0.0, 0.0, -0.0]])
    for impl in IMPLS:
        order = prune_order(ids, zeros, torch.ones(1), (1, 4), isolation_weight=0, impl=impl)
        assert order.tolist() == [[0, 1, 2, 3]]


def arguments(**changes):
    usual = {
        "ids": torch.tensor([[0, 1, 2, 1]]),
        "residual_sq": torch.ones(1, 4),
        "prior": torch.tensor([0.2, 0.3, 0.5]),
        "grid": (2, 2),
    }
    return usual | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": torch.zeros(4, dtype=torch.int64)}, r"ids must be \[B, N\], got \(4,\)"),
        ({"ids": torch.zeros(1, 4, dtype=torch.int32)}, r"ids must be torch.int64, got .*int32"),
        ({"residual_sq": torch.ones(1, 4, 4)}, r"residual_sq must have the shape of ids.*4, 4"),
        ({"residual_sq": torch.ones(1, 4).double()}, r"residual_sq must be torch.float32.*float64"),
        ({"prior": torch.ones(3).half()}, r"prior must be torch.float32, got torch.float16"),
        ({"prior": torch.ones(1, 3)}, r"prior must be \[K\]"),
        ({"prior": torch.ones(3, device="meta")}, r"prior must be on the device of ids, cpu, got"),
        ({"grid": (2, 3)}, r"grid must satisfy H \* W == N, got 2 \* 3 = 6 .* N = 4"),
        ({"grid": (-2, -2)}, r"grid must be \(H, W\)"),
        ({"ids": torch.tensor([[0, 1, 3, -1]])}, r"ids must be in .* K = 3, got 3 at \[0, 2\]"),
        ({"residual_sq": torch.tensor([[1, 1, torch.nan, 1]])}, r"residual_sq .* nan at \[0, 2\]"),
        ({"residual_sq": torch.tensor([[1, torch.inf, 1, 1]])}, r"residual_sq .* inf at \[0, 1\]"),
        ({"residual_sq": torch.tensor([[1, 1, 1, -1.0]])}, r"residual_sq .* -1.0 at \[0, 3\]"),
        ({"prior": torch.tensor([0.5, 0, 0.5])}, r"prior must be finite and > 0, got 0.0 at \[1\]"),
        ({"prior": torch.tensor([0.5, 1, torch.inf])}, r"prior .* got inf at \[2\]"),
        ({"prior": torch.tensor([torch.nan, 1, 1])}, r"prior .* got nan at \[0\]"),
        ({"neighbors": 0}, r"neighbors must be >= 1, got 0"),
        ({"isolation_weight": 1.5}, r"isolation_weight must be in \[0, 1\], got 1.5"),
        ({"isolation_weight": math.nan}, r"isolation_weight must be in \[0, 1\], got nan"),
        ({"impl": "metal"}, r"impl must be one of .*'native'.*, got 'metal'"),
    ],
)
def test_errors_name_argument_value_and_expectation(changes, message):
    for impl in IMPLS:
        with pytest.raises(ValueError, match=message):
            prune_order(**arguments(**{"impl": impl} | changes))


def test_opcheck():
    op = torch.ops.craft.prune_order.default
    ids, residual_sq, prior = torch.randint(0, 5, (2, 12)), torch.rand(2, 12), torch.rand(5) + 0.1
    for impl in IMPLS:
        torch.library.opcheck(op, (ids, residual_sq, prior, 3, 4, 4, 0.5, impl))


def test_compiles_into_one_graph_for_any_batch():
    torch._dynamo.reset()
    prior = torch.rand(5) + 0.1

    def kept(ids, residual_sq):
        return prune_order(ids, residual_sq, prior, (3, 4))[:, :6].sort(dim=1).values

    compiles = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(kept, fullgraph=True, dynamic=True, backend=compiles)
    counts = set()
    for batch in (2, 3, 7):
        ids, residual_sq = torch.randint(0, 5, (batch, 12)), torch.rand(batch, 12)
        assert torch.equal(compiled(ids, residual_sq), kept(ids, residual_sq))
        counts.add(compiles.frame_count)
    assert len(counts) == 1  # later batch sizes did not compile again


def test_residuals_with_gradients_are_accepted():
    residual_sq = torch.rand(1, 12, requires_grad=True)
    order = prune_order(torch.zeros(1, 12, dtype=torch.int64), residual_sq, torch.ones(1), (3, 4))
    assert not order.requires_grad


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ids", -1),
        ("ids", 3),
        ("residual_sq", -1.0),
        ("residual_sq", float("nan")),
        ("residual_sq", float("inf")),
        ("prior", 0.0),
        ("prior", float("nan")),
        ("prior", float("inf")),
        ("none", 0),
    ],
)
def test_the_single_test_for_gpus_agrees_with_those_one_by_one(name, value):
    values = {
        "ids": torch.tensor([[0, 2, 1, 2]]),
        "residual_sq": torch.tensor([[0.0, 1, 2, 3]]),
        "prior": torch.tensor([0.5, 0.25, 0.25]),
    }
    if name in values:
        values[name].view(-1)[1] = value
    assert _all_fine(**values) == (name == "none")
    with pytest.raises(ValueError, match=name) if name != "none" else contextlib.nullcontext():
        check_values(**values)
