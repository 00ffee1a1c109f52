"""Build the pocket world's pictures: ``python -m craft.pocket.build.data --out DIR --cache DIR``.

All pictures are drawn from packages pinned in ``sources``; the same packages give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from craft.pocket.build.attribution import attribution
from craft.pocket.build.digits import build_digits
from craft.pocket.build.flags import build_flags
from craft.pocket.build.glyphs import build_glyphs
from craft.pocket.build.icons import build_icons, build_lineart
from craft.pocket.build.records import Record, write_parquet

HERE = Path(__file__).resolve().parent.parent / "data"


def build_area(area: str, out: Path, cache: Path) -> Path:
    """Build one area into ``out`` and return its file."""
    builders: dict[str, Callable[[], list[Record]]] = {
        "icons": lambda: build_icons(cache),
        "lineart": lambda: build_lineart(cache, icon_labels(out)),
        "flags": lambda: build_flags(cache),
        "glyphs": lambda: build_glyphs(cache),
        "digits": lambda: build_digits(cache),
    }
    path = out / f"{area}.parquet"
    rows = builders[area]()
    write_parquet(rows, path, extra=("shape",) if area == "flags" else ())
    classes = len({row["label"] for row in rows})
    print(f"{area}: {len(rows)} pictures of {classes} classes, {path.stat().st_size:,} bytes")
    return path


def icon_labels(out: Path) -> set[str]:
    """The concepts of the icons that were already built; line art contains no others."""
    path = out / "icons.parquet"
    if not path.exists():
        raise SystemExit(f"line art needs the concepts in {path}; build it first with --only icons")
    return set(pq.read_table(path, columns=["label"])["label"].to_pylist())


AREAS = ("icons", "lineart", "flags", "glyphs", "digits")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="directory for the Parquet files")
    parser.add_argument("--cache", type=Path, required=True, help="directory for the packages")
    parser.add_argument("--only", choices=AREAS, help="build only this area")
    options = parser.parse_args()
    for area in [options.only] if options.only else AREAS:
        build_area(area, options.out, options.cache)
    if not options.only:
        (options.out / "ATTRIBUTION.md").write_text(attribution(options.out), encoding="utf-8")


if __name__ == "__main__":
    main()
