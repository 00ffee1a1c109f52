"""The adapter against its formula, rewritten with convolutions over maps in float64."""

import pytest
import torch
import torch.nn.functional as F

from craft.adapters.heba import Adapter
from craft.settings.heba import PRESETS, HebaConfig

LITERAL, DISCRETE = PRESETS["heba"], PRESETS["heba_discrete"]
#: The literal preset without its random scale.
STEADY = HebaConfig(
    bottleneck="quarter", post_norm=True, init_up="kaiming_fan_out", scale=0.025, grad_unscale=True
)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def filled(config, grid, width=8):
    """An adapter in float64 with random weights everywhere."""
    adapter = Adapter(width, config, grid).double()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_()
    return adapter


def as_maps(adapter, x, scale):
    """methods 1.2 in the public code's layout: convolutions over maps [D, H, W]."""
    rows, columns = adapter.grid
    maps = x.transpose(1, 2).reshape(len(x), -1, rows, columns)
    down, up = (w[:, :, None, None] for w in (adapter.down.weight, adapter.up.weight))
    kernel = adapter.mid.weight
    inside = F.conv2d(
        F.conv2d(maps, down), kernel, padding=kernel.shape[-1] // 2, groups=len(kernel)
    )
    out = F.conv2d(0.5 * inside * (1 + torch.erf(inside / 2**0.5)), up)
    out = out.flatten(2).transpose(1, 2)
    if adapter.norm is not None:
        out = x + out
        mean, variance = out.mean(-1, keepdim=True), out.var(-1, keepdim=True, unbiased=False)
        out = (out - mean) / (variance + 1e-5).sqrt() * adapter.norm.weight + adapter.norm.bias
    if adapter.gate is not None:
        out = adapter.gate * out
    return x + scale * out


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 6)])
@pytest.mark.parametrize(
    "config",
    [STEADY, DISCRETE, HebaConfig(kernel=5, gate=True, init_up="kaiming_fan_out", scale=0.5)],
    ids=["literal", "discrete", "gated"],
)
def test_images_follow_the_formula_on_any_grid(config, grid):
    adapter = filled(config, grid)
    x = torch.randn(2, grid[0] * grid[1], 8, dtype=torch.float64)
    torch.testing.assert_close(adapter(x), as_maps(adapter, x, config.scale))


def test_the_grid_is_not_its_transpose():
    wide, tall = filled(STEADY, (3, 5)), Adapter(8, STEADY, (5, 3)).double()
    tall.load_state_dict(wide.state_dict())
    x = torch.randn(1, 15, 8, dtype=torch.float64)
    assert not torch.allclose(wide(x), tall(x), atol=1e-4)


def test_text_is_adapted_word_by_word_with_two_matrices():
    adapter = filled(STEADY, None)
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    assert adapter.norm is not None
    inside = F.gelu(x @ adapter.down.weight.T) @ adapter.up.weight.T
    expected = x + 0.025 * F.layer_norm(x + inside, (8,), adapter.norm.weight, adapter.norm.bias)
    torch.testing.assert_close(adapter(x), expected)
    words = torch.cat([adapter(x[:, i : i + 1]) for i in range(7)], 1)
    torch.testing.assert_close(words, adapter(x))


@pytest.mark.parametrize("fast", [False, True])
def test_only_the_gradients_of_weights_are_divided_by_s(fast):
    """Acceptance test (iv); s includes the larger scale if that is drawn."""
    config = HebaConfig(**{**vars(STEADY), "fast_mult": 2.25})
    rule = filled(config, (3, 3))
    plain = Adapter(8, HebaConfig(**{**vars(config), "grad_unscale": False}), (3, 3)).double()
    plain.load_state_dict(rule.state_dict())
    scale = 0.025 * (2.25 if fast else 1)
    start, weight = torch.randn(2, 2, 10, 8, dtype=torch.float64)
    gradients = []
    for adapter in (rule, plain):
        x = start.clone().requires_grad_()
        out = adapter(x, fast)
        (out * weight).sum().backward()
        gradients.append((out, x.grad, [p.grad for p in adapter.parameters()]))
    (out, into, inside), (same, plain_into, plain_inside) = gradients
    torch.testing.assert_close(out, same)
    torch.testing.assert_close(into, plain_into)
    for mine, true in zip(inside, plain_inside, strict=True):
        torch.testing.assert_close(mine, true / scale)


def test_tokens_before_the_patches_are_unchanged_and_unused():
    """Acceptance test (v)."""
    adapter = filled(STEADY, (3, 3))
    x = torch.randn(2, 10, 8, dtype=torch.float64)
    out = adapter(x)
    assert torch.equal(out[:, :1], x[:, :1])
    assert torch.equal(out[:, 1:], adapter(x[:, 1:]))
    assert torch.equal(adapter(x[:, :1]), x[:, :1])  # a class token alone


@pytest.mark.parametrize("tokens", [8, 11])
def test_a_sequence_of_another_grid_is_refused(tokens):
    with pytest.raises(ValueError, match=rf"9 patches \(3 x 3\) .* a sequence of {tokens} tokens"):
        filled(STEADY, (3, 3))(torch.zeros(1, tokens, 8, dtype=torch.float64))


def test_a_shifted_map_shifts_the_bottlenecks_output():
    """Acceptance test (vi): away from the border, where the convolution is padded with zeros."""
    adapter = filled(STEADY, (6, 7))
    maps = torch.randn(1, 6, 7, 8, dtype=torch.float64)
    shifted = maps.roll((1, 2), (1, 2))
    out, moved = (adapter.f(m.flatten(1, 2)).unflatten(1, (6, 7)) for m in (maps, shifted))
    torch.testing.assert_close(moved[:, 2:-1, 3:-1], out[:, 1:-2, 1:-3])
    assert not torch.allclose(moved[:, 0], out[:, -1], atol=1e-4)


def test_initial_weights_are_those_of_the_public_code():
    """methods 1.3, from the weights' statistics: `up` is normal, the others uniform."""
    adapter = Adapter(256, LITERAL, (4, 4))
    assert adapter.up.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert adapter.down.weight.abs().max().item() <= 256**-0.5
    assert adapter.down.weight.std().item() == pytest.approx(256**-0.5 / 3**0.5, rel=0.02)
    assert adapter.mid.get_parameter("weight").abs().max().item() <= 1 / 3
    assert adapter.norm is not None
    assert torch.equal(adapter.norm.weight, torch.ones(256))


def test_the_literal_adapter_starts_as_a_rescaling():
    """methods 1.3 found cos(g(u), u) = 0.993 and a change of 5 % for inputs of standard deviation
    0.5, at SigLIP's and CLIP's widths."""
    adapter = Adapter(768, STEADY, (14, 14))
    u = 0.5 * torch.randn(1, 196, 768)
    change = adapter(u) - u
    assert F.cosine_similarity(change, u, dim=-1).mean().item() == pytest.approx(0.993, abs=0.004)
    assert (change.norm() / u.norm()).item() == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("kind", ["discrete", "gate"])
def test_idle_initial_weights_still_learn(kind):
    """Zeros in `up` or the gate have a gradient; the weights behind them get one a step later."""
    config = DISCRETE if kind == "discrete" else HebaConfig(init_up="kaiming_fan_out", gate=True)
    adapter = Adapter(8, config, (3, 3))
    x = torch.randn(2, 9, 8)
    assert torch.equal(adapter(x), x)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        adapter(x).square().sum().backward()
        gradients = {name: p.grad for name, p in adapter.named_parameters()}
        alive = {name for name, x in gradients.items() if x is not None and x.abs().max() > 0}
        first = {"up.weight"} if kind == "discrete" else {"gate"}
        assert alive == (first if step == 0 else {n for n, _ in adapter.named_parameters()})
        optimizer.step()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sites": ()}, "sites"),
        ({"sites": ("attn_in", "attn_in")}, "each once"),
        ({"sites": ("attn_out",)}, "attn_out"),
        ({"bottleneck": 0}, "bottleneck"),
        ({"bottleneck": "half"}, "half"),
        ({"init_up": "ones"}, "init_up"),
        ({"gate": True}, "gate=true needs init_up"),
        ({"scale": 0.0}, "scale"),
        ({"fast_prob": 1.5}, "fast_prob"),
        ({"kernel": 4}, "kernel must be odd"),
    ],
)
def test_invalid_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        HebaConfig(**wrong)
