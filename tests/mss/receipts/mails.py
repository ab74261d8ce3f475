"""Synthetic mails as the applicative mailbox receives them: DSN, MDN in three forms, error mails, documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from email.message import Message
from email.policy import SMTP

from connectors.mss.receipts.matching import Sent

TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
OTHER_TOKEN = "ffffffffffffffffffffffffffffffff"
OURS = "pfi@hopital-test.mssante.fr"
READER = "service.auto@clinique-test.mssante.fr"
MESSAGE_ID = f"<{TOKEN}@hopital-test.mssante.fr>"
OTHER_ID = f"<{OTHER_TOKEN}@hopital-test.mssante.fr>"
NAME = "ZZPATIENT"
SUBJECT = f"XDM/1.0/DDM+CR d'imagerie {NAME} Camille 01/02/1980"

SENT = Sent(7, MESSAGE_ID, TOKEN, READER, "899700000001")
OTHER = Sent(8, OTHER_ID, OTHER_TOKEN, "autre@clinique-test.mssante.fr", "899700000002")


def fields(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return "".join(f"{name}: {value}\r\n" for name, value in items)


def part(content_type: str, body: str, extra: str = "") -> str:
    return f"Content-Type: {content_type}\r\n{extra}\r\n{body}"


def multipart(
    content_type: str, parts: Sequence[str], headers: Mapping[str, str] | None = None, boundary: str = "=_b1"
) -> bytes:
    """A whole mail. `content_type` without its boundary; `headers` replace and add to the usual ones."""
    head = {
        "Return-Path": "<>",
        "From": "Mail Delivery System <MAILER-DAEMON@relais-test.mssante.fr>",
        "To": OURS,
        "Subject": "Rapport",
        "Message-ID": "<report-1@relais-test.mssante.fr>",
        "Auto-Submitted": "auto-replied",
        "MIME-Version": "1.0",
    } | dict(headers or {})
    text = (
        fields({k: v for k, v in head.items() if v})
        + f'Content-Type: {content_type};\r\n boundary="{boundary}"\r\n\r\n'
    )
    text += "".join(f"--{boundary}\r\n{one}\r\n" for one in parts) + f"--{boundary}--\r\n"
    return text.encode("utf-8")


def original(message_id: str = MESSAGE_ID, archive: bool = True) -> str:
    """Our mail as it is given back."""
    head = {"From": OURS, "To": READER, "Subject": SUBJECT, "Message-ID": message_id, "MIME-Version": "1.0"}
    if not archive:
        return fields(head) + "\r\n"
    return (
        fields(head)
        + 'Content-Type: multipart/mixed; boundary="=_inner"\r\n\r\n--=_inner\r\n'
        + part("text/plain; charset=utf-8", f"Bonjour, document de {NAME}.\r\n")
        + "\r\n--=_inner\r\n"
        + xdm_part()
        + "\r\n--=_inner--\r\n"
    )


def xdm_part(name: str = "IHE_XDM.ZIP") -> str:
    disposition = (
        f'Content-Disposition: attachment; filename="{name}"\r\nContent-Transfer-Encoding: base64\r\n'
    )
    return part("application/zip", "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==\r\n", disposition)


def recipient_block(action: str = "failed", status: str = "5.1.1", **more: str) -> dict[str, str]:
    """The fields of one recipient; `more` by field name with `_` for `-`, "" leaves a field out."""
    block = {
        "Final-Recipient": f"rfc822; {READER}",
        "Original-Recipient": f"rfc822;{READER}",
        "Action": action,
        "Status": status,
        "Remote-MTA": "dns; mx.clinique-test.mssante.fr",
    } | {name.replace("_", "-"): value for name, value in more.items()}
    return {name: value for name, value in block.items() if value}


def dsn(
    *blocks: Mapping[str, str],
    envid: str = TOKEN,
    message_id: str = MESSAGE_ID,
    content_type: str = "multipart/report; report-type=delivery-status",
    status_type: str = "message/delivery-status",
    **headers: str,
) -> bytes:
    """A delivery report; "" leaves envid or the returned headers out."""
    about = {
        "Reporting-MTA": "dns; relais-test.mssante.fr",
        "Arrival-Date": "Fri, 20 Nov 2026 10:46:43 +0000",
    }
    if envid:
        about["Original-Envelope-Id"] = envid
    report = "\r\n".join(fields(block) for block in (about, *(blocks or (recipient_block(),))))
    parts = [part("text/plain; charset=utf-8", "Non remis.\r\n"), part(status_type, report)]
    if message_id:
        parts.append(part("text/rfc822-headers", original(message_id, archive=False)))
    return multipart(content_type, parts, {k.replace("_", "-"): v for k, v in headers.items()})


ERROR_A = (
    "automatic-action/MDN-sent-automatically; processed/"
    "Error: {code}^Identifiant^messageErrorCondition| E^Error^errorSeverity"
)
ERROR_C = "{code}^Identifiant de patient inconnu^applicationErrorCondition| E^Error^errorSeverity"


def mdn(form: str = "C", code: str = "", *, disposition: str = "", **more: str) -> bytes:
    """A reading report in form A, B or C of the volet; `code` "" for a success. `more` replaces fields of the report
    (`Final_Recipient="…"`) and, with the prefix `head_`, headers of the mail."""
    plain = "automatic-action/MDN-sent-automatically; processed"
    report = {
        "Reporting-UA": "clinique-test.mssante.fr; Test",
        "Original-Recipient": f"rfc822;{READER}",
        "Final-Recipient": f"rfc822;{READER}",
        "Original-Message-ID": MESSAGE_ID,
        "Disposition": disposition or plain,
    }
    if code:
        report["Disposition"] = disposition or (
            f"{plain}/error" if form == "C" else ERROR_A.format(code=code)
        )
        if form in ("B", "C"):
            report["Error"] = ERROR_C.format(code=code)
    report |= {k.replace("_", "-"): v for k, v in more.items() if not k.startswith("head_")}
    head = {
        "From": READER,
        "Subject": f"=?utf-8?q?=5BKO_Int=C3=A9gration_syst=C3=A8me_!=5D=5B{code}=5D?= {SUBJECT}"
        if code
        else SUBJECT,
        "In-Reply-To": MESSAGE_ID,
        "References": MESSAGE_ID,
    } | {k.removeprefix("head_").replace("_", "-"): v for k, v in more.items() if k.startswith("head_")}
    parts = [
        part("text/plain; charset=utf-8", f"Le message de {NAME} n'a pas pu être intégré.\r\n"),
        part("message/disposition-notification", fields({k: v for k, v in report.items() if v})),
        part("message/rfc822", original()),
    ]
    if form in ("A", "B"):
        parts.append(xdm_part("IHE_XDM.zip"))
    return multipart("multipart/report; report-type=disposition-notification", parts, head)


def error_mail(
    subject: str = f"[KO Intégration système !][902] {SUBJECT}",
    body: str = "Le message n'a pas pu être intégré.\r\n",
    *,
    message_id: str = MESSAGE_ID,
    reattached: bool = True,
    **headers: str,
) -> bytes:
    """A "courriel standard"; message_id "" encloses nothing."""
    parts = [part("text/plain; charset=utf-8", body)]
    if message_id:
        parts.append(part("message/rfc822", original(message_id)))
    if reattached:
        parts.append(xdm_part("IHE_XDM.zip"))
    message = Message(policy=SMTP)
    message["Subject"] = subject
    head = {
        "Subject": message["Subject"].fold(policy=SMTP).partition(": ")[2].strip(),
        "From": f"Service <{READER}>",
        "Return-Path": f"<{READER}>",
        "Auto-Submitted": "",
    }
    return multipart("multipart/mixed", parts, head | {k.replace("_", "-"): v for k, v in headers.items()})


def document(*, subject: str = SUBJECT, parts: Sequence[str] | None = None, **headers: str) -> bytes:
    """A mail with a document, from another establishment."""
    head = {
        "Subject": subject,
        "From": "Dr Test <dr.test@cabinet-test.mssante.fr>",
        "Return-Path": "<dr.test@cabinet-test.mssante.fr>",
        "Message-ID": "<doc-1@cabinet-test.mssante.fr>",
        "Auto-Submitted": "",
    }
    given = [part("text/plain", "Bonjour\r\n"), xdm_part()] if parts is None else parts
    return multipart("multipart/mixed", given, head | {k.replace("_", "-"): v for k, v in headers.items()})


def note(body: str = "Bonjour\r\n", **headers: str) -> bytes:
    """A mail of one text part."""
    head = {
        "Subject": "Bonjour",
        "From": "Dr Test <dr.test@cabinet-test.mssante.fr>",
        "Return-Path": "<dr.test@cabinet-test.mssante.fr>",
        "To": OURS,
        "Content-Type": "text/plain; charset=utf-8",
    } | {k.replace("_", "-"): v for k, v in headers.items()}
    return (fields({k: v for k, v in head.items() if v}) + "\r\n" + body).encode("utf-8")
