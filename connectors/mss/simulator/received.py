"""A mail that the simulated operator took: envelope, DSN parameters, bytes, and what tests ask of them. Pure."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

from connectors.mss.simulator.reports import headers_of


@dataclass(frozen=True, slots=True)
class Mail:
    """A kept mail: envelope, DSN parameters (values as sent), raw bytes."""

    sender: str
    """"" for the empty return path."""
    recipient: str
    raw: bytes
    mail_dsn: dict[str, str] = field(default_factory=dict)
    rcpt_dsn: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> EmailMessage:
        """The parsed mail."""
        return message_from_bytes(self.raw, policy=policy.SMTP)

    @property
    def message_id(self) -> str:
        """Message-ID with its brackets; "" without one."""
        return message_id_of(self.raw)

    def archive(self) -> bytes:
        """The bytes of IHE_XDM.ZIP; raises `LookupError` without one."""
        return self._attachment("application/zip")

    def documents(self) -> dict[str, bytes]:
        """The files of the archive by name, folders left out."""
        with zipfile.ZipFile(io.BytesIO(self.archive())) as archive:
            return {i.filename: archive.read(i) for i in archive.infolist() if not i.is_dir()}

    def pdf(self) -> bytes:
        """The first PDF copy; raises `LookupError` without one."""
        return self._attachment("application/pdf")

    def text(self) -> str:
        """The body's text."""
        body = self.message.get_body(("plain",))
        return str(body.get_content()) if body is not None else ""

    def _attachment(self, mime_type: str) -> bytes:
        for part in self.message.iter_attachments():
            if part.get_content_type() == mime_type:
                return cast(bytes, part.get_payload(decode=True))
        raise LookupError(f"no {mime_type} in the mail")


def message_id_of(raw: bytes) -> str:
    """The Message-ID of a mail, "" without one."""
    value = message_from_bytes(headers_of(raw), policy=policy.compat32).get("Message-ID", "")
    return " ".join(str(value).split())
