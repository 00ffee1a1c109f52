"""Write ATTRIBUTION.md from the built files, so that it names exactly what is shipped."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

INTRODUCTION = """# Where the pictures come from

All pictures of the pocket world are drawn from openly licensed packages by
`python -m craft.pocket.build.data`, which pins and verifies each package. The columns `licence`,
`attribution` and `source` of the Parquet files repeat this for every single picture. Names and
groups of the icons follow `emojibase-data@17.0.0` (MIT, Miles Johnson).

What was changed: vector drawings were rendered at 64 x 64 pixels on white and reduced to at most
256 colours; labels were spelled in plain lower-case words.

Licence texts: [MIT](https://spdx.org/licenses/MIT.html),
[Apache-2.0](https://www.apache.org/licenses/LICENSE-2.0),
[CC-BY-4.0](https://creativecommons.org/licenses/by/4.0/),
[OFL-1.1](https://openfontlicense.org),
[BSD-3-Clause](https://spdx.org/licenses/BSD-3-Clause.html),
[Bitstream-Vera](https://spdx.org/licenses/Bitstream-Vera.html). Computer Modern in the BaKoMa
conversion (`LicenseRef-BaKoMa`) may be used and copied freely with its copyright notice:
Copyright (C) 1994, Basil K. Malyshev. The fonts themselves are not part of this project, only
pictures of characters drawn with them.
"""

AREAS = {
    "icons": (
        "Colour icons",
        "Animals, food, places, activities and objects; no people, no faces.",
    ),
    "lineart": ("Line art", "The concepts of the icons that both artists draw, black on white."),
    "flags": (
        "Flags",
        "Countries that every set draws, less those with the flag of another country.",
    ),
    "glyphs": ("Printed characters", "Digits and capital letters in black on white."),
    "digits": (
        "Handwriting",
        "5,000 digits of MNIST (LeCun, Cortes and Burges), unchanged except for the file format. "
        "MNIST derives from NIST's Special Databases 1 and 3; the package redistributes this "
        "subset under its own licence, and the full set is often listed as CC-BY-SA-3.0.",
    ),
}


def attribution(folder: Path) -> str:
    """The text of ATTRIBUTION.md for the Parquet files in ``folder``."""
    parts = [INTRODUCTION]
    for area, (title, taken) in AREAS.items():
        table = pq.read_table(
            folder / f"{area}.parquet", columns=["style", "licence", "attribution", "source"]
        )
        rows: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for row in table.to_pylist():
            rows[row["source"], row["licence"], row["attribution"]].append(row["style"])
        parts.append(f"## {title} (`{area}.parquet`)\n\n{taken}\n")
        lines = ["| package | licence | by | sets or fonts | pictures |", "|---|---|---|---|---|"]
        for (source, licence, authors), styles in sorted(rows.items()):
            names = ", ".join(sorted(set(styles)))
            lines.append(f"| `{source}` | {licence} | {authors} | {names} | {len(styles)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
