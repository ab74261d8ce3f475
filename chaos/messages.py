"""The bytes of a planned message. Pure: the same message has the same bytes at every attempt."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from email import message_from_bytes, policy

from chaos.scenario import Planned
from fixtures import build

_NAMED = re.compile(r"\[(M\d+)\]")


def document(message: Planned, position: int) -> bytes:
    """The CDA at `position`; that of a deletion is the document as it was sent."""
    if message.wrong == "no_cda":
        return b"this is no document"
    pdf = build.pdf(message.pdf)
    title = "Autre contenu" if message.wrong == "other_bytes" else "Compte rendu d'examens biologiques"
    return build.cda_n1(
        uid=message.uids[position],
        set_id=message.sets[position],
        version=message.version,
        replaces=message.replaces[position] or None,
        payload=pdf,
        title=title,
    )


def payload(message: Planned) -> bytes:
    """The segments, without MLLP framing."""
    cdas = [document(message, n) for n in range(len(message.uids))]
    flags: dict[str, str | bool] = {"DESTDMP": message.dmp}
    if message.recipients and not message.dmp:
        flags["INVISIBLE_PATIENT"] = True
    common = {
        "control_id": message.control_id,
        "recipients": message.recipients,
        "ack_reception": message.tell,
        "body_ps": f"Compte rendu [{message.key}]" if message.recipients else None,
        "flags": flags,
    }
    if len(cdas) > 1:
        return build.oru(message.action, cdas, **common)  # type: ignore[arg-type]
    event = {"submit": "T02", "replace": "T10", "delete": "T04"}[message.action]
    if message.wrong == "no_cda":
        common["document_id"] = message.uids[0]
    return build.mdm(event, cdas[0], **common)  # type: ignore[arg-type]


def named_in(mail: bytes) -> tuple[str, str, str, tuple[str, ...]]:
    """(key, recipient, Message-ID, SHA-1 of each document) of a mail that the operator took."""
    parsed = message_from_bytes(mail, policy=policy.SMTP)
    body = parsed.get_body(("plain",))
    found = _NAMED.search(str(body.get_content())) if body is not None else None
    recipient = str(parsed.get("To", "")).strip().strip("<>")
    documents: list[str] = []
    for part in parsed.iter_attachments():
        if part.get_content_type() == "application/zip":
            with zipfile.ZipFile(io.BytesIO(part.get_payload(decode=True))) as archive:  # type: ignore[arg-type]
                names = sorted(n for n in archive.namelist() if re.search(r"/DOC\d+\.XML$", n))
                documents += [hashlib.sha1(archive.read(n)).hexdigest() for n in names]
    message_id = str(parsed.get("Message-ID", "")).strip()
    return (found[1] if found else ""), recipient, message_id, tuple(documents)
