"""Fonts of the printed characters; no script fonts, because handwriting is a domain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from craft.pocket.build.packages import SourceError, fetch, read, read_json
from craft.pocket.build.sources import FONT_FAMILIES

#: Families whose italic is drawn too.
ITALICS = (
    "crimson-text",
    "eb-garamond",
    "fira-sans",
    "ibm-plex-mono",
    "ibm-plex-sans",
    "libre-baskerville",
    "lora",
    "merriweather",
    "open-sans",
    "playfair-display",
    "pt-serif",
    "roboto",
    "source-serif-4",
    "space-mono",
)

#: Fonts that come with matplotlib -> SHA-256 of the file.
MATPLOTLIB_FONTS = {
    "DejaVuSans": "3fdf69cabf06049ea70a00b5919340e2ce1e6d02b0cc3c4b44fb6801bd1e0d22",
    "DejaVuSans-Bold": "b184b89e3c1075f22f6b71575b6fc20d4972b3cfd3b23322ca6fd596dcaef167",
    "DejaVuSans-Oblique": "ccdf74b350f11fd3dd5774de50e5e6346a1a5da1f5b7d5fb83590665e97a5213",
    "DejaVuSansMono": "602ec86b8948cfcd956482fe64f94c36c867770149ef2f791d4613f443bcecb3",
    "DejaVuSansMono-Bold": "baada9a5172fe20886251aff0433fc38461912d5daf07287e7bee56620a8da96",
    "DejaVuSerif": "107244956e9962b9e96faccdc551825e0ae0898ae13737133e1b921a2fd35ffa",
    "DejaVuSerif-Bold": "c3753f2ed6bc673f15846dc45addbeb3b9c872f32fb18fd53a21f1bef1ed7676",
    "DejaVuSerif-Italic": "3e7994fbc54fa10ce3352a42d548fadd7d9cadb69cb1109bc9d960f6dac57f04",
    "STIXGeneral": "167378031e2dddc6216d67819c9260e9a06ffc4c478e4e23cb98a6fd44b183c2",
    "STIXGeneralBol": "e8533dc7083fa346bda1933d60ea4a83b67d0945bceaf1b3541f82b4a0e2c6a0",
    "STIXGeneralItalic": "6cfcb333d22b7c3c623bdfd40174f14c85c3d6731ca6166c1edc80140eae8527",
    "STIXGeneralBolIta": "98788fd4ba48dfbb2bd026c0e20a247a8b06c7372879628b7a6bb0d5bb09736c",
    "cmr10": "4dd9761b058c009db9b2145f55ee6617d093c273dd3d6c5b3e43ff6110fa9bf6",
    "cmb10": "074497b50c43ea57597181591f9893d38fc12a87e95104f5657fc2481f61a23a",
    "cmss10": "7df91a83d05b2e471ec638cb0b435a360a3c792b09fc42a7da67e91f2e79115a",
    "cmtt10": "6211f09ae93599991afda970c24669dad1a77e253d915624fbf212f702f071d7",
    "cmti10": "f9f1f9f654308ae82f7be4441ae89b080896b34cc220bbea173c5e9adcfe3ef7",
}

MATPLOTLIB_LICENCES = {
    "DejaVu": ("Bitstream-Vera", "Bitstream, Inc. and Tavmjong Bah (DejaVu fonts)"),
    "STIX": ("OFL-1.1", "STI Pub Companies (STIX fonts)"),
    "cm": ("LicenseRef-BaKoMa", "Donald Knuth; TrueType by Basil K. Malyshev (BaKoMa fonts)"),
}


class Font(NamedTuple):
    """A font file and its origin."""

    style: str
    data: bytes
    licence: str
    attribution: str
    source: str


def fonts(cache: Path) -> Iterator[Font]:
    """Read and verify all fonts."""
    yield from bundled_fonts()
    for package in FONT_FAMILIES:
        with_files = package_files(fetch(package, cache))
        metadata = read_json(package, cache, "metadata.json")
        notice = metadata["license"]["attribution"].split("\n")[0].split(" with Reserved")[0]
        notice = notice.split(".ttf: ")[-1].split(". ")[0].rstrip(" ,.")
        variants = ["400-normal", "700-normal"]
        if package.style in ITALICS:
            variants.append("400-italic")
        for variant in variants:
            member = f"files/{package.style}-latin-{variant}.woff"
            if f"package/{member}" in with_files:
                yield Font(
                    f"{package.style} {variant.replace('-', ' ')}",
                    read(package, cache, member),
                    package.licence,
                    notice,
                    package.source,
                )


def package_files(archive: Path) -> set[str]:
    """Files in a package; families differ in the weights they have."""
    import tarfile

    with tarfile.open(archive) as opened:
        return set(opened.getnames())


def bundled_fonts() -> Iterator[Font]:
    """The text fonts of the installed matplotlib."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name, expected in MATPLOTLIB_FONTS.items():
        data = (folder / f"{name}.ttf").read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise SourceError(
                f"matplotlib {matplotlib.__version__} comes with another {name}.ttf: sha256 is "
                f"{found}, expected {expected}. Install matplotlib 3.11.2, or review the new "
                "font and update MATPLOTLIB_FONTS."
            )
        licence, authors = next(
            terms for start, terms in MATPLOTLIB_LICENCES.items() if name.startswith(start)
        )
        yield Font(name.lower(), data, licence, authors, "matplotlib@3.11.2")
