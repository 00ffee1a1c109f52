"""libtiff tells of damaged files on stderr by itself, past Python; here it is asked not to."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path

import PIL
from PIL import Image  # loads libtiff


@lru_cache(maxsize=1)
def silence_libtiff() -> bool:
    """Take away the functions by which libtiff prints errors and warnings, in the whole process.

    What they would say of an image is told by the error that decoding it raises.

    Returns:
        Whether that was done: not if Pillow has no libtiff, or has it inside its own module.
    """
    Image.preinit()
    found = [path for path in _loaded() if path.name.startswith("libtiff")]
    for path in found:
        try:
            library = ctypes.CDLL(str(path))  # the one that Pillow has loaded
            handlers = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
        except (OSError, AttributeError):
            continue
        for set_handler in handlers:
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
    return bool(found)


def _loaded() -> set[Path]:
    """Shared libraries that are loaded or, where the system does not tell, that Pillow brings."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set(Path(PIL.__file__).parent.glob(".dylibs/*"))
    return {Path(line.split(maxsplit=5)[5]) for line in lines if "/" in line}
