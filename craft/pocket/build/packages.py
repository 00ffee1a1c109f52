"""Fetch and verify the pinned packages that the pocket world is drawn from."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SourceError(RuntimeError):
    """A source package is missing, altered or not in the expected form."""


@dataclass(frozen=True)
class Package:
    """One archive of a public registry, pinned by version and SHA-256.

    ``licence``, an SPDX identifier, and ``authors``, the attribution, are shipped with each image.
    """

    registry: str
    name: str
    version: str
    sha256: str
    licence: str
    authors: str

    @property
    def source(self) -> str:
        """The package as ``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def style(self) -> str:
        """The last part of the name: the artists' name of their set."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def filename(self) -> str:
        """The archive's file name, as the registry's client writes it."""
        if self.registry == "npm":
            return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"
        return f"{self.name}-{self.version}-py3-none-any.whl"


def fetch(package: Package, cache: Path) -> Path:
    """Return the verified archive of ``package``, downloading it into ``cache`` if necessary."""
    archive = cache / package.filename
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        if package.registry == "npm":
            command = ["npm", "pack", "--silent", package.source]
        else:
            pinned = f"{package.name}=={package.version}"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", pinned]
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
        if done.returncode or not archive.exists():
            raise SourceError(
                f"could not fetch {package.source}: expected {archive.name} in {cache} from "
                f"`{' '.join(command)}`, which said: {done.stderr.strip()[-500:] or 'nothing'}. "
                "Put the archive there by hand or check the connection to the registry."
            )
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SourceError(
            f"{archive} is not the pinned {package.source}: sha256 is {found}, expected "
            f"{package.sha256}. Delete the file and run again; if it still differs, the "
            "registry serves another archive under this version: do not use it."
        )
    return archive


def read(package: Package, cache: Path, member: str) -> bytes:
    """Read a file from a package, such as ``icons.json``."""
    archive = fetch(package, cache)
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                return opened.read(member)
        with tarfile.open(archive) as opened:
            stream = opened.extractfile(f"package/{member}")
            if stream is None:
                raise KeyError(member)
            return stream.read()
    except KeyError as error:
        raise SourceError(f"{package.source} holds no file {member!r}") from error


def read_json(package: Package, cache: Path, member: str) -> Any:
    """Read and decode a JSON file from a package."""
    return json.loads(read(package, cache, member))
