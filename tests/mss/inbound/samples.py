"""Received mails for the tests: those that our own outbound side makes, and archives with one thing wrong."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.mss import mail as outbound
from connectors.mss import xdm
from connectors.mss.inbound import reading
from connectors.mss.inbound.reading import InboundDocument, Received
from connectors.mss.plan import MailPlan, from_json
from fixtures import build
from gateway.hl7.transmission import Action
from gateway.rules import Findings, RuleBook, load_rulebook
from tests.mss import samples

TABLE = Path(reading.__file__).with_name("rules.toml")
BOOK: RuleBook = load_rulebook([TABLE])
SUBSET = "IHE_XDM/SUBSET01/"
PDF = b"%PDF-1.4\n1 0 obj essai\n%%EOF\n"
N1 = build.cda_n1(payload=PDF)
N1_V2 = build.cda_n1(
    uid=f"{build.DOCUMENT_ROOT}.1.2", version=2, replaces=f"{build.DOCUMENT_ROOT}.1.1", payload=PDF
)
N3 = build.cda_n3()
MAILBOX = "service-x@test-hopital.mssante.fr"


def plan(action: Action = Action.SUBMIT, *contents: bytes, **changes: Any) -> MailPlan:
    """The plan that our outbound side makes for documents."""
    asked = samples.transmission(action, **changes)
    verdict = asyncio.run(samples.connector().prepare(samples.preparation(asked, *(contents or (N1,)))))
    return from_json(samples.accepted(verdict).deliveries[0].plan)


def archive(action: Action = Action.SUBMIT, *contents: bytes) -> bytes:
    """IHE_XDM.ZIP as our outbound side makes it."""
    contents = contents or (N1,)
    return xdm.build(plan(action, *contents), contents)


def entries(content: bytes) -> dict[str, bytes]:
    """Name → bytes of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(
    files: Mapping[str, bytes] | Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """An archive of files, names as given."""
    out = io.BytesIO()
    pairs = files.items() if isinstance(files, Mapping) else files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two entries of one name
        with zipfile.ZipFile(out, "w", method) as made:
            for name, content in pairs:
                made.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


def changed(content: bytes, old: str, new: str, count: int = 1) -> bytes:
    """An archive whose METADATA.XML has `old` replaced by `new` (a regular expression), which must be there."""
    files = entries(content)
    text, done = re.subn(old, new, files[SUBSET + "METADATA.XML"].decode(), count=count, flags=re.DOTALL)
    assert done, old
    files[SUBSET + "METADATA.XML"] = text.encode()
    return zipped(files)


def with_document(content: bytes, document: bytes, number: int = 1) -> bytes:
    """An archive with another document, whose hash and size the metadata give."""
    files = entries(content)
    name = f"{SUBSET}DOC{number:04d}.XML"
    old = files[name]
    files[name] = document
    metadata = files[SUBSET + "METADATA.XML"].decode()
    metadata = metadata.replace(hashlib.sha1(old).hexdigest(), hashlib.sha1(document).hexdigest())
    metadata = metadata.replace(f">{len(old)}<", f">{len(document)}<")
    files[SUBSET + "METADATA.XML"] = metadata.encode()
    return zipped(files)


def read(content: bytes, **more: Any) -> tuple[tuple[InboundDocument, ...], list[str]]:
    """The documents of an archive and the rules found."""
    findings = Findings(BOOK)
    documents = reading.read_documents(content, BOOK, findings, **more)
    return documents, [f.rule for f in findings]


def rejecting(content: bytes, **more: Any) -> list[str]:
    """The rules that reject an archive."""
    findings = Findings(BOOK)
    reading.read_documents(content, BOOK, findings, **more)
    return [f.rule for f in findings if f.rejects]


def mail(
    action: Action = Action.SUBMIT,
    *contents: bytes,
    archive_bytes: bytes | None = None,
    archive_name: str = "IHE_XDM.ZIP",
    pdfs: Sequence[bytes] = (PDF,),
    extra: str = "",
    drop: str = "",
    **changes: Any,
) -> bytes:
    """A received mail: our outbound one, with header lines added by its way (`extra`) or left out (`drop`)."""
    contents = contents or (N1,)
    planned = plan(action, *contents, **changes)
    attachments = [
        outbound.Attachment(
            "application/zip",
            archive_name,
            xdm.build(planned, contents) if archive_bytes is None else archive_bytes,
        ),
        *(outbound.Attachment("application/pdf", f"copie_{n}.pdf", p) for n, p in enumerate(pdfs, 1)),
    ]
    raw = outbound.build(planned, planned.body, attachments)
    if drop:
        raw = re.sub(rb"(?m)^" + drop.encode() + rb":.*\r\n(?:[ \t].*\r\n)*", b"", raw, count=1)
    return extra.replace("\n", "\r\n").encode() + raw


def receive(raw: bytes, **more: Any) -> Received:
    """The mail read with the book of the tests."""
    return reading.receive(raw, BOOK, **more)


def rules_of(received: Received) -> list[str]:
    """Ids of everything found."""
    return [f.rule for f in received.findings]


def wrapped(inner: bytes, subject: str = "Tr: document", encoding: str = "7bit") -> bytes:
    """A mail forwarded as an attachment."""
    return (
        b"From: secretariat@test-hopital.mssante.fr\r\nTo: " + MAILBOX.encode() + b"\r\nSubject: "
        + subject.encode() + b"\r\nMessage-ID: <forward@test>\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="outer"\r\n\r\n--outer\r\nContent-Type: text/plain\r\n\r\n'
        b"Pour info\r\n"
        b"--outer\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: " + encoding.encode()
        + b"\r\n\r\n" + inner + b"\r\n--outer--\r\n"
    )  # fmt: skip
