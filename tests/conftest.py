"""Options for all lanes."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--perturb-products",
        type=int,
        metavar="SEED",
        help="round every matrix product as another processor might (tests/perturbed_products.py)",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ["CRAFT_CACHE"] = "off"  # also for processes that tests start
    seed = config.getoption("--perturb-products")
    if seed is not None:
        from tests.perturbed_products import PerturbedProducts

        config.add_cleanup(PerturbedProducts(seed).restore)
