"""``craft data cache``: show or clear the cache of decoded images."""

from __future__ import annotations

from typing import Annotated

import typer

from craft.cli import process
from craft.cli.options import console


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="delete the whole cache")] = False,
) -> None:
    """Show, or clear, the cache of decoded images.

    `craft adapt` fills it with the images that it trains on. CRAFT_CACHE names its folder, or "off"
    for no cache; CRAFT_CACHE_LIMIT is its largest size in GiB.
    """
    process.prepare()
    from rich.table import Table

    from craft.data.images.cache import LIMIT, VARIABLE, PixelCache, age

    found = PixelCache.of_environment()
    if found is None:
        console.print(f"{VARIABLE}=off: images are not cached")
        return
    if clear:
        freed = found.clear()
        console.print(f"{found.folder}: {_size(freed)} deleted", soft_wrap=True)
    entries = found.entries()
    total = sum(entry.bytes for entry in entries)
    if entries:
        table = Table()
        for heading in ("file", "images", "pixels", "size", "used"):
            table.add_column(heading)
        for entry in entries:
            used = age(entry.used) if entry.whole else "unfinished"
            side = f"{entry.size}×{entry.size}"
            name = entry.path.name[:12]
            table.add_row(name, f"{entry.images:,}", side, _size(entry.bytes), used)
        console.print(table)
    console.print(
        f"{found.folder}: {_size(total)} of at most {_size(found.limit)} ({LIMIT})",
        soft_wrap=True,
    )


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
