"""Image formats, recognised by the suffix of a file name or by the first bytes of its content."""

from __future__ import annotations

from pathlib import Path

#: Suffixes of supported images.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif"}
    | {".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".jp2", ".j2k", ".j2c", ".jpx", ".jpf"}
)

#: Suffix -> format of images that are not supported.
OTHER_SUFFIXES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".svg", ".svgz"), "SVG"),
    **dict.fromkeys((".eps", ".ps", ".ai"), "PostScript"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
    **dict.fromkeys((".fits", ".fit"), "FITS"),
    **dict.fromkeys((".wmf", ".emf"), "Windows metafile"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"), "camera raw"),
    **{f".{name}": name.upper() for name in ("jxl", "psd", "tga", "ico", "icns", "pcx", "exr")},
    **{f".{name}": name.upper() for name in ("hdr", "qoi", "dds", "xcf")},
}

#: Signatures of unsupported formats, in order of preference.
_SIGNATURES = (
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"8BPS", "PSD"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xd7\xcd\xc6\x9a", "Windows metafile"),
    (b"SIMPLE  =", "FITS"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"\0\0\1\0", "ICO"),
    (b"icns", "ICNS"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"II\x1a\0\0\0HEAPCCDR", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of a supported image."""
    return Path(name).suffix.lower() in SUFFIXES


def other_format(name: str) -> str | None:
    """Return the unsupported image format of a file name by its suffix; None if there is none.

    >>> other_format("IMG_0001.HEIC"), other_format("cat.png")
    ('HEIC', None)
    """
    return OTHER_SUFFIXES.get(Path(name).suffix.lower())


def content_format(data: bytes) -> str | None:
    """Return the format of a file's content, if it is known but not supported; otherwise None."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[8:64]:
        return "HEIC"
    if data[128:132] == b"DICM":
        return "DICOM"
    text = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")):
        return "SVG" if b"<svg" in data[:4096].lower() else "XML"
    return None
