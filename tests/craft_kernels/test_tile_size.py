"""Tiles fit the third-level cache of the machine."""

import pytest

pytest.importorskip("craft_kernels._native")

from craft_kernels.residual_quantize.tile import _score_bytes


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [("32768K\n", 16), ("16384K", 8), ("1024K", 4), ("266240K", 16), ("unknown", 16)],
)
def test_scores_take_half_of_it_within_limits(text, mebibytes, tmp_path):
    (tmp_path / "size").write_text(text)
    assert _score_bytes(tmp_path / "size") == mebibytes << 20


def test_a_machine_that_does_not_tell(tmp_path):
    assert _score_bytes(tmp_path / "none") == 16 << 20
