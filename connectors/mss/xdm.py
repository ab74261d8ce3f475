"""IHE_XDM.ZIP: the archive of an MSSanté mail. Pure.

Purpose: tree, README.TXT, INDEX.HTM, METADATA.XML and the documents, byte for byte as received.
Guarantee: same plan and documents, same bytes (dates and system marks are fixed by the plan); names are ISO
9660 level 1; the hash and size of METADATA.XML are those of the bytes inside.
Fails: `GatewayBug` when the documents given are not the planned ones.
Source: spec/mssante.md §1.5 to §1.7 (measured on the official archives), IHE ITI TF-2 §3.32 (XDM).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Literal, Protocol

from connectors.mss.plan import Emitter, PlannedDocument
from connectors.mss.wording import ascii_form, one_line
from connectors.xds.ebrim import Member, xdm_metadata
from connectors.xds.model import SubmissionSet
from gateway.errors import GatewayBug
from gateway.hl7.transmission import Action

SUBSET = "IHE_XDM/SUBSET01/"
DEFLATE_LEVEL = 1
"""Measured on a 333 kB N1 (base64 of a PDF): level 1 7.7 ms and 259,934 bytes, level 6 9.0 ms and 254,233 bytes; on a
64 kB N3 0.2 ms and 13 kB against 0.7 ms and 10 kB. Two per cent of a mail are not worth a sixth of the time."""
_SLICE = 1 << 20
_FIXED_OVERHEAD = 24_000
"""README, INDEX, METADATA (uncompressed, first document) and the ZIP's own records."""
_PER_DOCUMENT = 24_000
ActionSlot = Literal["C", "D"] | None


class ArchivePlan(Protocol):
    """What an archive is made of: a `MailPlan` has it, and so has the report of an error. `created` is aware, UTC."""

    @property
    def action(self) -> Action: ...
    @property
    def created(self) -> datetime: ...
    @property
    def documents(self) -> tuple[PlannedDocument, ...]: ...
    @property
    def submission(self) -> SubmissionSet: ...
    @property
    def emitter(self) -> Emitter: ...


def document_name(number: int) -> str:
    """`DOC0001.XML` for 1."""
    return f"DOC{number:04d}.XML"


def action_slot(action: Action, first: bool) -> ActionSlot:
    """`urn:action:extraMetadataSlot`: C replacement, D deletion, none for a first submission.

    `first`: the replaced version was never delivered to this recipient, so a replacement is a first
    submission there.
    """
    if action is Action.DELETE:
        return "D"
    return "C" if action is Action.REPLACE and not first else None


def build(plan: ArchivePlan, contents: Sequence[bytes], *, first: bool = False) -> bytes:
    """The archive of `plan` with the documents' bytes in the plan's order."""
    if len(contents) != len(plan.documents):
        raise GatewayBug("the archive has not the planned number of documents")
    slot = action_slot(plan.action, first)
    members = []
    for planned, content in zip(plan.documents, contents, strict=True):
        sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        if len(content) != planned.entry.size or sha1 != planned.entry.sha1:
            raise GatewayBug("a document's bytes are not the planned ones")
        members.append(Member(planned.entry, uri=planned.archive_name, action=slot))
    names = [d.archive_name for d in plan.documents]
    entries: list[tuple[str, bytes]] = [
        ("INDEX.HTM", index_page(plan.emitter, names)),
        ("README.TXT", readme(plan.emitter, names)),
        ("IHE_XDM/", b""),
        (SUBSET, b""),
        *((SUBSET + name, content) for name, content in zip(names, contents, strict=True)),
        (SUBSET + "METADATA.XML", xdm_metadata(plan.submission, members)),
    ]
    made = plan.created
    stamp = (made.year, made.month, made.day, made.hour, made.minute, made.second // 2 * 2)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name, stamp)
            # marks of the system that zipped would differ from one machine to the next
            info.create_system = 0
            folder = name.endswith("/")
            info.external_attr = 0x10 if folder else 0x20
            info.compress_type = zipfile.ZIP_STORED if folder else zipfile.ZIP_DEFLATED
            if len(content) <= _SLICE:
                archive.writestr(info, content, compresslevel=None if folder else DEFLATE_LEVEL)
                continue
            # in slices, as `writestr` does in one go: other threads get their turn
            info._compresslevel = DEFLATE_LEVEL  # type: ignore[attr-defined]  # as `writestr` sets it
            info.file_size = len(content)
            with archive.open(info, "w") as member:
                for start in range(0, len(content), _SLICE):
                    member.write(content[start : start + _SLICE])
    return out.getvalue()


def size_bound(plan: ArchivePlan, sizes: Sequence[int]) -> int:
    """An upper bound in bytes of `build`'s result for documents of `sizes` bytes (deflate adds at most 5
    bytes per 16 kB to data that does not shrink, RFC 1951 §3.2.4)."""
    return _FIXED_OVERHEAD + sum(size + size // 1000 + _PER_DOCUMENT for size in sizes)


def readme(emitter: Emitter, documents: Sequence[str]) -> bytes:
    """README.TXT: 7-bit ASCII, CRLF, the sections of the official archives."""
    organisation = emitter.organisation + (f"({emitter.organisation_id})" if emitter.organisation_id else "")
    lines = [
        "Emetteur :",
        "=============",
        f"    . Nom : {one_line(emitter.name)}",
        f"    . Organisme : {one_line(organisation)}",
        f"    . Adresse : {one_line(emitter.address)}",
        f"    . Telephone : {one_line(emitter.phone)}",
        "",
        "Application de l'emetteur :",
        "=========================",
        f"    . Nom : {one_line(emitter.software)}",
        f"    . Version : {one_line(emitter.version)}",
        f"    . Editeur : {one_line(emitter.editor)}",
        "",
        "Instructions :",
        "=============",
        ". Consultez les fichiers recus par messagerie securisee de sante dans votre logiciel"
        " de professionnel de sante.",
        "",
        "Arborescence :",
        "============",
        "     README.TXT",
        "     INDEX.HTM",
        "     + IHE_XDM",
        "           +SUBSET01",
        "                METADATA.XML",
        *(f"                {name}" for name in documents),
    ]
    return ascii_form("\r\n".join(lines) + "\r\n").encode("ascii")


def index_page(emitter: Emitter, documents: Sequence[str]) -> bytes:
    """INDEX.HTM: valid XHTML 1.0 Strict, in ASCII (other characters as references), CRLF."""
    name = escape(one_line(emitter.organisation or emitter.name))
    number = f" ({escape(one_line(emitter.organisation_id))})" if emitter.organisation_id else ""
    links = [f'<li><a href="{SUBSET}{d}">{d}</a></li>' for d in documents]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">',
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="fr" lang="fr">',
        "<head><title>Documents de sant&#233;</title></head>",
        "<body>",
        f"<p>Emetteur : {name}{number}</p>",
        '<p>Voir le fichier <a href="README.TXT">README.TXT</a></p>',
        "<ul>",
        *links,
        "</ul>",
        "</body>",
        "</html>",
    ]
    return ("\r\n".join(lines) + "\r\n").encode("ascii", "xmlcharrefreplace")
