"""``craft settings``: every setting of training and of LASER."""

from __future__ import annotations

from craft.cli.terminal import console


def list_settings() -> None:
    """List every setting: its type, its default, and what it does."""
    from craft.settings.table import laser_table, settings_table

    console.print("craft adapt, align, few-shot: --set KEY=VALUE\n")
    console.print(settings_table(), soft_wrap=True)
    console.print("\ncraft generate --laser: --set KEY=VALUE\n")
    console.print(laser_table(), soft_wrap=True)
