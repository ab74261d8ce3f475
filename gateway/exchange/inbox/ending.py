"""How a received mail ends: its last commit, and where it belongs in its mailbox.

Guarantee: the end of a mail, its answers (MDN), its fact and the incident that a person must hear of are one commit;
one that has ended does not end again. Runs in the journal's writer: statements only.
Source: spec/mssante.md §2.2, §2.6; docs/decisions/0031.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from connectors.mailbox_port import Conclusion, Folder
from gateway.errors import Finding
from gateway.exchange import incidents
from gateway.exchange.incidents import INCIDENTS
from gateway.hl7.transmission import Action
from gateway.journal import mails, queue, records
from gateway.journal.mails import Mail
from gateway.journal.queue import NewDelivery

OTHER = "906"
"""Table 0533: what has no code of its own."""


def concluded(
    session: Session,
    mail: Mail,
    kind: str,
    conclusion: Conclusion,
    findings: Sequence[Finding],
    lifetime: float,
    now: float,
) -> set[str]:
    """The fate of all its documents is known; the words to wake. `lifetime` of its answers, in seconds."""
    error = conclusion.error
    kept = findings or mails.findings_of(session, mail.id)
    if not mails.treated(session, mail.id, kind, error.code if error else "", kept, now):
        return set()
    wake: set[str] = set()
    for answer in conclusion.answers:
        queue.enqueue(
            session,
            NewDelivery(
                message_id=None,
                mail_id=mail.id,
                payload_id=mail.payload_id,
                destination=mail.connector,
                recipient=answer.recipient,
                action=Action.SUBMIT,
                documents=(),
                plan=answer.plan,
                now=now,
                lifetime=lifetime,
                keys=answer.keys,
            ),
        )
        wake.add(mail.connector)
    records.add_fact(
        session,
        "mail_integrated" if error is None else "mail_not_integrated",
        now,
        mailbox=mail.mailbox,
        mail=mail.id,
        code=error.code if error else "",
    )
    if error is not None:
        wake |= _incident(session, mail, error.code, error.label, error.reasons, now)
    return wake


def failed(
    session: Session, mail: Mail, kind: str, reason: str, label: str, sentence: str, now: float
) -> set[str]:
    """A mail that may hold a document and goes to a person; the words to wake."""
    if not mails.treated(session, mail.id, kind, reason, (), now):
        return set()
    return _incident(session, mail, OTHER, label, (sentence,), now)


def _incident(
    session: Session, mail: Mail, code: str, label: str, reasons: Sequence[str], now: float
) -> set[str]:
    incidents.note(
        session,
        flow="inbound",
        family=f"{mail.mailbox} {code}",
        code=code,
        route=mail.mailbox,
        now=now,
        mail_id=mail.id,
        mailbox=mail.mailbox,
        label=label,
        reasons=tuple(reasons),
    )
    return {INCIDENTS}


def folder_of(mail: mails.ToFile) -> Folder:
    """Where a treated mail belongs."""
    if mail.kind in ("automatic", "quarantine") or (
        mail.kind in ("dsn", "mdn", "error-mail") and mail.reason
    ):
        return Folder.OTHER
    if mail.kind == "too-large" or (mail.kind == "inbound" and mail.reason):
        return Folder.ERROR
    return Folder.PROCESSED
