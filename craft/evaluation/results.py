"""The files that an examination leaves."""

from __future__ import annotations

RESULTS, PREDICTIONS = "results.json", "predictions.jsonl"
