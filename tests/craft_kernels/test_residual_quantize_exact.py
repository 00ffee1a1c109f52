"""The codes are those of real arithmetic. The truth here is float64 brute force of this file's own,
with Python integers wherever two codewords come close."""

import math
import threading

import pytest
import torch

import craft_kernels
from craft_kernels import FrozenCodebook, residual_quantize


def truth(z, codebook, levels):
    """Codes [N, L], sums [N, D] and residuals [N, L, D]."""
    residual, codes, residuals = z.float(), [], []
    total = torch.zeros_like(residual)
    for level in range(levels):
        words = (codebook if codebook.ndim == 2 else codebook[level]).float()
        nearest = torch.cat([nearest_codewords(r, words) for r in residual.split(512)])
        codes.append(nearest)
        residual = residual - words[nearest]
        total = total + words[nearest] if level else words[nearest]
        residuals.append(residual)
    return torch.stack(codes, 1), total, torch.stack(residuals, 1)


def nearest_codewords(residual, words):
    r, c = residual.double(), words.double()
    norms = c.norm(dim=1)
    distances = 0.5 * norms**2 - r @ c.T
    scale = norms.max() * (r.norm(dim=1, keepdim=True) + norms.max())
    near = distances <= distances.amin(1, keepdim=True) + 1e-9 * scale + 1e-90
    nearest = distances.argmin(1)
    for n in (near.sum(1) > 1).nonzero().flatten().tolist():
        candidates = near[n].nonzero().flatten().tolist()
        point = as_integers(residual[n])
        exact = [
            sum((a - b) ** 2 for a, b in zip(point, as_integers(words[j]), strict=True))
            for j in candidates
        ]
        nearest[n] = candidates[exact.index(min(exact))]
    return nearest


def as_integers(x):
    return [int(math.ldexp(value, 149)) for value in x.tolist()]  # floats are multiples of 2^-149


def check(z, codebook, levels, **options):
    codes, total, residuals = truth(z, codebook, levels)
    result = residual_quantize(z, codebook, levels, **options)
    assert torch.equal(result.codes, codes)
    assert result.codes.dtype == torch.int64
    assert torch.equal(result.quantized, total.to(z.dtype))
    torch.testing.assert_close(
        result.residual_sq_norms, residuals.double().square().sum(-1).float(), rtol=2e-7, atol=0
    )
    return result


def random_codebook(generator, *shape, scale=1.0):
    return scale * torch.randn(*shape, generator=generator)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def isa(request):
    """Forces the instruction set that the test is parametrised with."""
    native = pytest.importorskip("craft_kernels._native")
    before = native.isa()
    try:
        native.use_isa(request.param)
    except ValueError:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    native.use_isa(before)


@pytest.fixture
def path(request, monkeypatch):
    """Forces the path; "separate" is for codebooks that only one path takes."""
    if request.param != "separate":
        monkeypatch.setenv("CRAFT_KERNELS_PATH", request.param)
    return request.param


both_paths = pytest.mark.parametrize("path", ["gram", "streaming"], indirect=True)
every_way = pytest.mark.parametrize("path", ["gram", "streaming", "separate"], indirect=True)
every_isa = pytest.mark.parametrize(
    "isa", ["baseline", "avx2", "avx512", "avx512_bf16", "amx"], indirect=True
)


# VILA-U's size, every distribution in one batch ---------------------------------------------------

K, D, L, TOKENS = 16384, 1024, 4, 2304


def large_codebook(g):
    words = torch.randn(K, D, generator=g)
    words[:, :3] *= 10  # channels with outliers
    words[12288:] = torch.randint(-2, 3, (4096, D), generator=g).float()
    words[14336:15360] = words[12288:13312]  # duplicates
    words[15360:] = words[13312:14336]  # mirror images
    words[15360:, 0] = -words[15360:, 0]
    return words


def large_tokens(g, words):
    n = TOKENS // 6
    gaussian = torch.randn(n, D, generator=g)
    offset = torch.randn(n, D, generator=g) + 4
    outliers = torch.randn(n, D, generator=g)
    outliers[:, :3] *= 40
    sums = words[torch.randint(12288, (3, n), generator=g)].sum(0)
    sums += 0.3 * torch.randn(n, D, generator=g)
    ties = words[torch.randint(12288, 14336, (n,), generator=g)]  # advanced indexing copies
    ties[:, 0] = 0  # half way between a codeword and its mirror image
    ties[: n // 2] += words[torch.randint(12288, K, (n // 2,), generator=g)]
    coarse = sums.flip(0).bfloat16().float()
    return torch.cat([gaussian, offset, outliers, sums, ties, coarse])


@pytest.fixture(scope="module")
def large():
    g = torch.Generator().manual_seed(1)
    words = large_codebook(g)
    z = large_tokens(g, words)
    return FrozenCodebook(words), z, truth(z, words, L)


@pytest.mark.slow
@both_paths
def test_large_codes_are_exact(path, large):
    frozen, z, (codes, total, _) = large
    result = residual_quantize(z, frozen, L)
    assert (result.codes != codes).sum() == 0
    assert torch.equal(result.quantized, total)


@pytest.mark.slow
def test_large_ties_are_real(large):
    """The batch does contain exact ties, so that the lowest index is put to the test."""
    codes = large[2][0]
    n = TOKENS // 6
    first = codes[4 * n + n // 2 : 5 * n, 0]
    assert ((first >= 12288) & (first < 14336)).sum() > 100
    assert (first >= 14336).sum() == 0


@pytest.mark.slow
@both_paths
def test_large_codes_ignore_threads_batch_and_order(path, large):
    frozen, z, (codes, _, _) = large
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [residual_quantize(part, frozen, L) for part in z.split([1, 7, 700, 1000, 596])]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.cat([part.codes for part in alone]), codes)
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(2))
    shuffled = residual_quantize(z[order], frozen, L)
    assert torch.equal(shuffled.codes, codes[order])
    norms = torch.cat([part.residual_sq_norms for part in alone])
    assert torch.equal(shuffled.residual_sq_norms, norms[order])


@pytest.mark.slow
@both_paths
def test_large_half_precision_input(path, large):
    frozen, z, (codes, total, _) = large
    coarse = z[-TOKENS // 6 :]
    result = residual_quantize(coarse.bfloat16(), frozen, L)
    assert torch.equal(result.codes, codes[-TOKENS // 6 :])
    assert torch.equal(result.quantized, total[-TOKENS // 6 :].bfloat16())


# Small shapes ------------------------------------------------------------------------------------


@every_isa
@every_way
@pytest.mark.parametrize(
    ("n", "k", "d", "levels"),
    [
        (1, 1, 1, 1),
        (5, 2, 3, 4),
        (33, 257, 16, 4),
        (20, 1000, 33, 16),  # K and D off every vector width
        (70, 4099, 65, 3),  # several blocks per row of scores
        (1100, 31, 7, 2),  # more than one tile
    ],
)
def test_shapes(isa, path, n, k, d, levels, generator):
    codebook = random_codebook(generator, *((levels,) if path == "separate" else ()), k, d)
    z = 2 * torch.randn(n, d, generator=generator)
    check(z, codebook, levels, impl="native")


@every_isa
@every_way
def test_integer_ties_take_the_lowest_index(isa, path, generator):
    shape = (3, 900, 3) if path == "separate" else (900, 3)
    codebook = torch.randint(-3, 4, shape, generator=generator).float()
    z = torch.randint(-8, 9, (300, 3), generator=generator).float() / 2
    check(z, codebook, 3, impl="native")


@every_isa
@both_paths
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(isa, path, dtype, generator):
    codebook = random_codebook(generator, 300, 40)
    z = (3 * torch.randn(50, 40, generator=generator)).to(dtype)
    check(z, codebook, 4, impl="native")
    check(z, codebook.to(dtype), 4, impl="native")


@every_isa
@both_paths
@pytest.mark.parametrize("scale", [1e38, 1e30, 1e19, 1e-19, 1e-22, 1e-30, 1e-38, 1e-44])
def test_magnitudes(isa, path, scale, generator):
    """Where float32 products overflow or vanish, the bound must send everything to float64."""
    codebook = torch.rand(200, 20, generator=generator).sub(0.5) * scale
    z = torch.rand(40, 20, generator=generator).sub(0.5) * scale
    check(z, codebook, 3, impl="native")


@both_paths
def test_mixed_magnitudes(path, generator):
    codebook = random_codebook(generator, 300, 12)
    codebook *= torch.logspace(-30, 30, 300).unsqueeze(1)
    z = random_codebook(generator, 61, 12) * torch.logspace(-30, 30, 61).unsqueeze(1)
    check(z, codebook, 3)


@both_paths
def test_one_bit_apart(path, generator):
    """Codewords that differ in the last bit of one component: float32 cannot tell them apart."""
    word = random_codebook(generator, 1, 64)
    codebook = word.repeat(129, 1)
    for j in range(1, 129):
        column = (j - 1) // 2
        away = math.inf if j % 2 else -math.inf
        codebook[j, column] = torch.nextafter(word[0, column], torch.tensor(away))
    codebook = codebook[torch.randperm(129, generator=generator)]
    z = word + 1e-3 * torch.randn(50, 64, generator=generator)
    check(z, codebook, 2)


# A number just below the middle of two bfloat16 neighbours, and numbers about as great on average
# that lie just above the middle or on a neighbour: rounding moves the two groups apart.
def rounded_down_and_up(one, n):
    step = one * 2.0**-7  # between bfloat16 neighbours
    down = torch.full((n,), one + 0.49 * step)
    up = torch.full((n,), one + 0.51 * step)
    up[: n // 20] = one
    return down, up  # the sum of `down` is greater, until both are rounded


@every_isa
@both_paths
@pytest.mark.parametrize("levels", [1, 3])
def test_rounding_of_codewords_is_bounded(isa, path, levels):
    down, up = rounded_down_and_up(1.0, 500)
    assert down.sum() > up.sum()
    assert down.bfloat16().sum() < up.bfloat16().sum()
    z = torch.full((1, 500), 2.0 + levels - 1)
    result = check(z, torch.stack([up, down]), levels, impl="native")
    assert result.codes[0, 0] == 1


@every_isa
@both_paths
def test_rounding_of_tokens_is_bounded(isa, path):
    down, up = rounded_down_and_up(2.0, 250)
    codebook = torch.ones(2, 500)
    codebook[0, 250:] = codebook[1, :250] = 2
    result = check(torch.cat([down, up])[None], codebook, 1, impl="native")
    assert result.codes[0, 0] == 1


@both_paths
def test_differences_below_float64(path, generator):
    """Distances that differ by less than 2^-53 of themselves: only exact arithmetic decides."""
    codebook = torch.zeros(3, 4)
    codebook[:, 0] = 1.0
    codebook[:, 1] = 2.0**20
    codebook[0, 2] = 2.0**-60
    codebook[1, 2] = 2.0**-61
    codebook[2, 3] = 2.0**-61  # ties with the one before it
    result = check(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1e-18, 0.0]]), codebook, 1)
    assert result.codes[0, 0] == 1


@both_paths
def test_zeros(path):
    check(torch.zeros(3, 5), torch.zeros(7, 5), 2)


@both_paths
def test_strided_input(path, generator):
    wide = torch.randn(9, 40, generator=generator)
    codebook = random_codebook(generator, 20, 100).t()
    assert not codebook.is_contiguous()
    check(wide[:, ::2], codebook, 3)
    check(wide[:20].t()[:20].t(), codebook, 3)
    check(wide[:1, :20].expand(6, 20), codebook, 3)


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("shape", [(6,), (0, 6), (1, 6), (2, 3, 6), (0, 5, 6), (2, 1, 2, 6)])
def test_leading_shapes(shape, impl, generator):
    codebook = random_codebook(generator, 50, 6)
    z = torch.randn(*shape, generator=generator)
    result = residual_quantize(z, codebook, 3, impl=impl)
    flat = residual_quantize(z.reshape(-1, 6), codebook, 3)
    assert result.codes.shape == (*shape[:-1], 3)
    assert result.quantized.shape == shape
    assert result.residual_sq_norms.shape == (*shape[:-1], 3)
    for got, expected in zip(result, flat, strict=True):
        assert torch.equal(got.flatten(), expected.flatten())


@every_isa
@every_way
@pytest.mark.parametrize("seed", range(14))
def test_native_equals_reference_bit_for_bit(isa, path, seed):
    g = torch.Generator().manual_seed(seed)
    n, k, d, levels = (int(torch.randint(1, top, (), generator=g)) for top in (60, 400, 90, 6))
    codebook = random_codebook(g, *((levels,) if path == "separate" else ()), k, d)
    z = torch.randn(n, d, generator=g) * 4 + seed % 3
    z, codebook = (z.round(), codebook.round()) if seed % 5 == 0 else (z, codebook)
    z = z.to([torch.float32, torch.bfloat16, torch.float16][seed % 3])
    native = residual_quantize(z, codebook, levels, impl="native")
    reference = residual_quantize(z, codebook, levels, impl="reference")
    for got, expected in zip(native, reference, strict=True):
        assert torch.equal(got, expected)


@every_isa
def test_more_candidates_than_a_list_holds(isa, monkeypatch, generator):
    """All codewords within the screening bound of each other, more than there is room for."""
    monkeypatch.setenv("CRAFT_KERNELS_PATH", "streaming")
    word = 50 + random_codebook(generator, 1, 24)
    codebook = word + 1e-4 * torch.randn(700, 24, generator=generator)
    z = torch.cat([word.expand(40, 24), torch.randn(40, 24, generator=generator)])
    check(z + 1e-4 * torch.randn(80, 24, generator=generator), codebook, 2, impl="native")


@every_isa
def test_the_list_makes_room_by_what_the_floor_rules_out(isa, monkeypatch, generator):
    """Each codeword is a little nearer than the one before, in the order they are looked at."""
    monkeypatch.setenv("CRAFT_KERNELS_PATH", "streaming")
    direction = torch.nn.functional.normalize(torch.ones(1, 16), dim=1)
    codebook = torch.linspace(1, 3, 4000)[:, None] * direction
    z = 3 * direction + 0.1 * torch.randn(50, 16, generator=generator)
    check(z, codebook, 2, impl="native")


def test_gram_path_of_separate_codebooks_is_refused(monkeypatch, generator):
    monkeypatch.setenv("CRAFT_KERNELS_PATH", "gram")
    with pytest.raises(ValueError, match="one codebook shared by all levels, and there are 2"):
        residual_quantize(torch.zeros(1, 4), random_codebook(generator, 2, 9, 4), 2, impl="native")


# What calls share, and what else runs in the process ----------------------------------------------


@pytest.mark.parametrize("gram_bytes", [0, 500 * 4, 40 * 500 * 4, 1 << 30])
def test_gram_budget_changes_nothing(gram_bytes, generator, monkeypatch):
    monkeypatch.setenv("CRAFT_KERNELS_PATH", "gram")
    codebook = random_codebook(generator, 500, 24)
    frozen = FrozenCodebook(codebook, gram_bytes=gram_bytes)
    for _ in range(4):
        z = 3 * torch.randn(37, 24, generator=generator)
        check(z, frozen.tensor, 4)
        result = residual_quantize(z, frozen, 4)
        assert torch.equal(result.codes, truth(z, codebook, 4)[0])
        assert frozen.gram_nbytes <= gram_bytes
    assert (frozen.gram_nbytes > 0) == (gram_bytes > 500 * 4)


@both_paths
def test_concurrent_calls(path, generator):
    codebook = random_codebook(generator, 700, 16)
    frozen = FrozenCodebook(codebook, 4, gram_bytes=200 * 700 * 4)  # evicts all the time
    batches = [3 * torch.randn(90, 16, generator=generator) for _ in range(8)]
    expected = [truth(z, codebook, 4)[0] for z in batches]
    wrong = []

    def work(z, codes):
        wrong.extend(
            1 for _ in range(10) if not torch.equal(residual_quantize(z, frozen).codes, codes)
        )

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(batches, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_lowered_matmul_precision_is_not_used(precision, generator):
    """On CPUs with AMX, "medium" turns torch.mm of float32 into bfloat16."""
    codebook = random_codebook(generator, 600, 64)
    z = torch.randn(200, 64, generator=generator)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        result = residual_quantize(z, codebook, 3)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(result.codes, truth(z, codebook, 3)[0])


def test_autocast_inference_mode_and_defaults(generator):
    codebook = random_codebook(generator, 600, 64)
    z = torch.randn(200, 64, generator=generator)
    codes = truth(z, codebook, 3)[0]
    for impl in ("native", "reference"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(residual_quantize(z, codebook, 3, impl=impl).codes, codes)
        with torch.inference_mode():
            frozen = FrozenCodebook(codebook, 3)
            assert torch.equal(residual_quantize(z, frozen, impl=impl).codes, codes)
        with torch.device("meta"):
            assert torch.equal(residual_quantize(z, frozen, impl=impl).codes, codes)
    assert torch.equal(residual_quantize(z, frozen).codes, codes)


@both_paths
def test_flushed_denormals(path, generator):
    codebook = torch.randn(100, 8, generator=generator) * 1e-39
    z = torch.randn(30, 8, generator=generator) * 1e-39
    codes = truth(z, codebook, 2)[0]
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        result = residual_quantize(z, codebook, 2, impl="native")
    finally:
        torch.set_flush_denormal(False)
    assert torch.equal(result.codes, codes)


def test_after_fork(generator):
    multiprocessing = pytest.importorskip("multiprocessing")
    codebook = random_codebook(generator, 100, 8)
    z = torch.randn(64, 8, generator=generator)
    expected = residual_quantize(z, codebook, 2).codes  # starts the thread pool
    context = multiprocessing.get_context("fork")
    parent, child = context.Pipe()

    def work():
        torch.set_num_threads(1)  # torch's own pool does not survive a fork
        child.send(residual_quantize(z, codebook, 2).codes.tolist())

    process = context.Process(target=work)
    process.start()
    assert parent.poll(60)
    assert parent.recv() == expected.tolist()
    process.join()


def test_auto_is_what_backend_info_says():
    info = craft_kernels.backend_info()
    assert info.impl in ("native", "reference")
    assert info.reason
