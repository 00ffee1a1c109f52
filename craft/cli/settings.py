"""``craft settings``: every training setting."""

from __future__ import annotations

from rich.console import Console


def list_settings() -> None:
    """Every training setting: its type, its default, and what it does."""
    from craft.settings.table import settings_table

    Console().print(settings_table(), highlight=False, markup=False, soft_wrap=True)
