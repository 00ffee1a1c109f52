"""``craft settings``: every training setting."""

from __future__ import annotations

from craft.cli.terminal import console


def list_settings() -> None:
    """List every training setting: its type, its default, and what it does."""
    from craft.settings.table import settings_table

    console.print(settings_table(), soft_wrap=True)
