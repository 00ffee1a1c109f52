"""The table of claims that ``craft reproduce`` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def claims_table(results: dict[str, Any]) -> Table:
    """The paper's claims, each with the result here and the verdict."""
    table = Table(caption="In brackets: 95 % intervals.", caption_justify="left")
    for heading in ("claim", "paper", "here", "verdict"):
        table.add_column(heading)
    for claim in results["claims"]:
        found, here = claim["found"], ""
        if found is not None and "percent" in found:
            here = f"{found['percent']:+.0f} %"
        elif found is not None:
            low, high = found["interval"]
            here = f"{found['mean']:+.1f} ({low:+.1f} to {high:+.1f})"
        table.add_row(claim["claim"], claim["paper"], here, claim["verdict"])
    return table
