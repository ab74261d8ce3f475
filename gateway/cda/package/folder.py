"""The folder of the official CDA package: which files are in it, and which file a reference means.

Purpose: the one place where names of the package become paths. The published package has includes written in
another letter case than their files (spec/cda.md §1), which a Linux file system does not forgive: names are
looked up exactly, then without regard to case.

Guarantee: read-only, nothing is written into the folder. Only the three known sub-folders are looked at. A
reference never leaves the package: `..` above its root, absolute paths, URLs and symbolic links to elsewhere
are refused. The manifest is the SHA-256 of every file that can be reached.

Fails: `ConfigurationFault` from `Package.open` when the folder is not a package; `BadReference` for a
reference that leaves the package or names nothing.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import ConfigurationFault

FOLDERS = ("infrastructure", "schematrons", "jeuxDeValeurs")
XSD = "infrastructure/cda/CDA_extended.xsd"
SCHEMATRONS = "schematrons"
VALUE_SETS = "jeuxDeValeurs"
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_NAME = re.compile(rb"""<\w+:(?:element|attribute)\b[^>]*?\bname\s*=\s*["']([A-Za-z_][\w.-]*)["']""")


class BadReference(Exception):
    """A reference that names no file of the package. `outside`: it tried to leave the package."""

    def __init__(self, reference: str, *, outside: bool = False) -> None:
        super().__init__(reference)
        self.reference = reference
        self.outside = outside


class Package:
    """The files of one package. Immutable once open; safe to share between threads."""

    def __init__(
        self, root: Path, files: frozenset[str], refused_links: tuple[str, ...], digest: str
    ) -> None:
        self.root = root
        """Resolved path of the folder."""
        self.files = files
        """Paths of all files, relative to `root`, with `/`."""
        self.refused_links = refused_links
        """Symbolic links that lead out of the package (or to a folder): not part of it."""
        self.digest = digest
        """SHA-256 (hex) of the manifest: one line `<sha256>  <path>` per file, sorted by path."""
        self._by_case: dict[str, list[str]] = {}
        for name in sorted(files):
            self._by_case.setdefault(name.lower(), []).append(name)

    @classmethod
    def open(cls, root: Path) -> Package:
        """Look at `root` and hash its files (about 0.1 s for 15 MB).

        Raises `ConfigurationFault` when it is not a folder, cannot be read, or has no `CDA_extended.xsd`.
        """
        if not root.is_dir():
            raise ConfigurationFault(f"cda.package: {root} is not a folder")
        root = root.resolve()
        files: dict[str, str] = {}
        links: list[str] = []
        try:
            for path in _walk(root, links):
                files[path.relative_to(root).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as e:
            raise ConfigurationFault(f"cda.package: {e.filename}: {e.strerror}") from e
        manifest = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
        package = cls(
            root, frozenset(files), tuple(sorted(links)), hashlib.sha256(manifest.encode()).hexdigest()
        )
        try:
            package.find(XSD)
        except BadReference:
            raise ConfigurationFault(f"cda.package: {root} has no {XSD}") from None
        return package

    def find(self, name: str) -> str:
        """The file that `name` (relative to the root) means: exactly, else in another letter case.

        Raises `BadReference`. Of several files that differ by case only, the first in order.
        """
        if name in self.files:
            return name
        found = self._by_case.get(name.lower())
        if not found:
            raise BadReference(name)
        return found[0]

    def resolve(self, base: str, reference: str) -> str:
        """The file that `reference`, written in the file `base`, means. Raises `BadReference`."""
        reference = reference.split("#", 1)[0].strip().replace("\\", "/")
        if not reference or _SCHEME.match(reference) or reference.startswith("/"):
            raise BadReference(reference, outside=True)
        name = posixpath.normpath(posixpath.join(posixpath.dirname(base), reference))
        if name == ".." or name.startswith("../"):
            raise BadReference(reference, outside=True)
        try:
            return self.find(name)
        except BadReference:
            raise BadReference(reference) from None

    def path(self, name: str) -> Path:
        """Where the file `name` (as `find` gives it) lies."""
        return self.root / name

    def same_but_for_case(self) -> list[list[str]]:
        """Groups of files whose names differ by letter case only."""
        return [names for names in self._by_case.values() if len(names) > 1]

    def under(self, folder: str, suffix: str) -> list[str]:
        """The files of `folder` and below that end with `suffix`, sorted."""
        return sorted(n for n in self.files if n.startswith(f"{folder}/") and n.endswith(suffix))

    def vocabulary(self) -> frozenset[str]:
        """Every element and attribute name that the XSD declare: other names of a document are not repeated
        (an author may have put anything there).
        """
        names: set[str] = set()
        for name in self.under("infrastructure", ".xsd"):
            names.update(found.decode() for found in _NAME.findall(self.path(name).read_bytes()))
        return frozenset(names)


def same_case(href: str, target: str) -> bool:
    """True when the reference is written as the file is named, `..` left out."""
    written = [
        p for p in href.split("#", 1)[0].strip().replace("\\", "/").split("/") if p not in ("", ".", "..")
    ]
    return not written or target.split("/")[-len(written) :] == written


def _walk(root: Path, links: list[str]) -> Iterator[Path]:
    """The regular files of the known folders; links to elsewhere are named in `links`, not followed."""
    for top in FOLDERS:
        for folder, subfolders, names in os.walk(root / top, onerror=_raise):
            here = Path(folder)
            links.extend(
                (here / d).relative_to(root).as_posix() for d in subfolders if (here / d).is_symlink()
            )
            for name in names:
                path = here / name
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    links.append(path.relative_to(root).as_posix())
                elif path.is_file():
                    yield path


def _raise(error: OSError) -> None:
    # a folder that is not there is an empty one; one that cannot be read must not look like one
    if not isinstance(error, FileNotFoundError):
        raise error
