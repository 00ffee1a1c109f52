"""A resumed run's pace is computed from its own steps."""

from __future__ import annotations

from craft.training.records.pace import Pace


def test_images_per_second_and_time_left() -> None:
    now = [0.0]
    pace = Pace(start=50, steps=100, batch=32, clock=lambda: now[0])
    for _ in range(10):
        with pace.step():
            now[0] += 2.0
    now[0] += 10.0  # a validation
    found = pace.numbers()
    assert found["images_per_second"] == 16
    assert found["seconds_left"] == 40 * 3.0
    assert found["memory_mib"] > 1
