r"""IHE_XDM.ZIP opened with guards: names and sizes first, then only the files that are asked for. Pure.

Purpose: the tree of an archive (its SUBSETs) and the bytes of its files, in memory.
Guarantee: nothing is written to disk; entries, announced and real sizes and ratios are bounded before anything is
inflated; no absolute name, no `..`, no link, no encrypted entry, no two files of one name; a zip inside is not opened.
Names are compared without case, `\` is `/`.
Fails: never for what is in the bytes; every refusal is a finding.
Source: spec/mssante.md §1.5, §2.2; APPNOTE.TXT 6.3 §4.4 (general purpose bits, external attributes).
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

from connectors.mss.inbound.limits import InboundLimits
from gateway.rules import Findings

_SLICE = 1 << 18
_METADATA = re.compile(r"(?:(?P<prefix>.+)/)?IHE_XDM/(?P<subset>[^/]+)/METADATA\.XML")
_BAD = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_RECORD = 1024
"""Bytes of the central directory allowed for one entry: 46, its name and its extra fields."""
_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    UnicodeError,
    ValueError,
    IndexError,
)
"""What `zipfile` raises for bytes that are no good archive."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of the archive as read."""

    content: bytes = field(repr=False)
    sha1: str
    """Lower-case hex."""


@dataclass(frozen=True, slots=True)
class Subset:
    """One folder that holds a METADATA.XML. `files`: upper-case name in the folder → entry."""

    name: str
    """`SUBSET01` (upper case)."""
    metadata: zipfile.ZipInfo
    files: dict[str, zipfile.ZipInfo] = field(repr=False)


@dataclass(slots=True)
class Archive:
    """An archive that passed the guards."""

    subsets: tuple[Subset, ...]
    _zip: zipfile.ZipFile = field(repr=False)
    _left: int
    """Bytes that may still be inflated."""

    def read(self, entry: zipfile.ZipInfo) -> File | None:
        """The bytes of one entry; None when it is damaged or longer than announced. In slices: other threads get
        their turn."""
        out, sha1 = io.BytesIO(), hashlib.sha1(usedforsecurity=False)
        try:
            with self._zip.open(entry) as member:
                while piece := member.read(_SLICE):
                    self._left -= len(piece)
                    if self._left < 0:
                        return None
                    sha1.update(piece)
                    out.write(piece)
        except _FAULTS:
            return None
        return File(out.getvalue(), sha1.hexdigest())


def open_archive(content: bytes, limits: InboundLimits, findings: Findings) -> Archive | None:
    """The archive of `content`, or None when a finding refuses it."""
    file = io.BytesIO(content)
    try:
        # what `ZipFile` itself will go by: a directory of millions of entries is refused before it is read
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end is None:
            findings.add("IN-ZIP")
            return None
        if end[4] > limits.entries or end[5] > limits.entries * _RECORD:
            findings.add("IN-ZIP-ENTRIES", limit=limits.entries)
            return None
        opened = zipfile.ZipFile(file)
    except _FAULTS:
        findings.add("IN-ZIP")
        return None
    entries = opened.infolist()
    before = len(findings)
    _check_sizes(entries, len(content), limits, findings)
    named = _check_entries(entries, findings)
    if any(f.rejects for f in findings[before:]):
        return None
    subsets = _subsets(named, findings)
    if not subsets:
        findings.add("IN-NO-METADATA")
        return None
    return Archive(subsets, opened, limits.unzipped_bytes)


def _check_sizes(
    entries: list[zipfile.ZipInfo], size: int, limits: InboundLimits, findings: Findings
) -> None:
    if len(entries) > limits.entries:
        findings.add("IN-ZIP-ENTRIES", limit=limits.entries)
    total = sum(e.file_size for e in entries)
    if total > limits.unzipped_bytes:
        findings.add("IN-ZIP-SIZE", limit=limits.unzipped_bytes // 1_000_000)
    elif total > limits.ratio_from and (
        total > size * limits.ratio
        or any(
            e.file_size > limits.ratio_from and e.file_size > e.compress_size * limits.ratio for e in entries
        )
    ):
        findings.add("IN-ZIP-RATIO", limit=limits.ratio)


def _check_entries(entries: list[zipfile.ZipInfo], findings: Findings) -> dict[str, zipfile.ZipInfo]:
    """Refuse what no archive of the profile holds; the files by upper-case name with `/`. One finding per rule."""
    wrong: set[str] = set()
    odd: set[str] = set()
    named: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        sent = entry.orig_filename
        name = sent.replace("\\", "/")
        steps = name.split("/")
        if name.startswith("/") or _DRIVE.match(name) or ".." in steps or _BAD.search(name) or not name:
            wrong.add("IN-ZIP-NAME")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            wrong.add("IN-ZIP-LINK")
        if entry.flag_bits & _ENCRYPTED:
            wrong.add("IN-ZIP-ENCRYPTED")
        elif entry.compress_type not in _METHODS:
            wrong.add("IN-ZIP-METHOD")
        if name.endswith("/"):
            continue
        key = "/".join(step for step in steps if step not in ("", ".")).upper()
        if key in named:
            wrong.add("IN-ZIP-TWICE")
        if key.endswith(".ZIP"):
            odd.add("IN-ZIP-NESTED")
        if "IHE_XDM/" in key and (key != name or "\\" in sent):
            odd.add("IN-TREE-NAMES")
        named[key] = entry
    for rule in (*sorted(wrong), *sorted(odd)):
        findings.add(rule)
    return named


def _subsets(named: dict[str, zipfile.ZipInfo], findings: Findings) -> tuple[Subset, ...]:
    """The folders with a METADATA.XML, in the order of their names; what the tree lacks is told."""
    found: list[tuple[str, str, zipfile.ZipInfo]] = []
    prefixes: set[str] = set()
    for key, entry in named.items():
        match = _METADATA.fullmatch(key)
        if match and not key.startswith("__MACOSX/"):
            prefixes.add(match["prefix"] or "")
            found.append((key.removesuffix("METADATA.XML"), match["subset"], entry))
    if not found:
        return ()
    if len(prefixes) > 1:
        # two archives in one: which one is meant cannot be told
        findings.add("IN-TREE-SEVERAL")
    prefix = sorted(prefixes)[0]
    if prefix:
        findings.add("IN-TREE-PREFIX")
    root = f"{prefix}/" if prefix else ""
    for name, rule in (("README.TXT", "IN-NO-README"), ("INDEX.HTM", "IN-NO-INDEX")):
        if root + name not in named:
            findings.add(rule)
    folders = tuple(folder for folder, _, _ in found)
    if any(
        key.startswith(f"{root}IHE_XDM/") and key.endswith(".XML") and not key.startswith(folders)
        for key in named
    ):
        # beside the folders that have metadata: it would be lost in silence
        findings.add("IN-FILE-FORGOTTEN")
    return tuple(
        Subset(name, entry, {k.removeprefix(folder): e for k, e in named.items() if k.startswith(folder)})
        for folder, name, entry in sorted(found, key=lambda f: f[0])
    )
