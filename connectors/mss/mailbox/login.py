"""How the mailbox is opened: LOGIN, or SASL PLAIN, EXTERNAL, XOAUTH2.

Guarantee: the secret is read from its file at each login and kept nowhere; it is never in an exception nor in a log.
Fails: `MailboxFault`: LOGIN (refused), MECHANISM (not offered), FILES (secret), BUSY (refused for now).
Source: RFC 3501 §6.2, 4616 (PLAIN), 4422 (EXTERNAL), 4959 (SASL-IR), 5530; XOAUTH2 as its authors publish it.
"""

from __future__ import annotations

import asyncio
import base64

from connectors.mss.mailbox.model import MailboxFault, Reason
from connectors.mss.mailbox.session import No, Session, quoted
from connectors.mss.mailbox.settings import ImapSettings


async def log_in(session: Session, settings: ImapSettings) -> None:
    """Open the mailbox of `settings` on a greeted session."""
    secret = await _secret(settings)
    try:
        if settings.auth == "login":
            if "LOGINDISABLED" in session.capabilities:
                raise MailboxFault(Reason.MECHANISM)
            user, password = settings.user.encode(), secret.encode()
            if not (user.isascii() and password.isascii()):
                # LOGIN has no character set: such a secret needs PLAIN
                raise MailboxFault(Reason.MECHANISM, "auth login is for ASCII, use plain")
            _, done = await session.command(b"LOGIN", quoted(user), quoted(password))
        else:
            name = settings.auth.upper()
            if f"AUTH={name}" not in session.capabilities:
                raise MailboxFault(Reason.MECHANISM)
            first = base64.b64encode(_initial(settings, secret))
            # after a refusal XOAUTH2 tells why and waits for an empty line
            after = (b"",) if settings.auth == "xoauth2" else ()
            if "SASL-IR" in session.capabilities:
                words = (b"AUTHENTICATE", name.encode(), first or b"=")
                _, done = await session.command(*words, replies=after)
            else:
                _, done = await session.command(b"AUTHENTICATE", name.encode(), replies=(first, *after))
    except No as e:
        raise MailboxFault(Reason.BUSY if e.passing else Reason.LOGIN) from None
    await session.ask_capabilities_after_login(done)


def _initial(settings: ImapSettings, secret: str) -> bytes:
    match settings.auth:
        case "plain":
            return f"\0{settings.user}\0{secret}".encode()
        case "xoauth2":
            return f"user={settings.user}\1auth=Bearer {secret}\1\1".encode()
        case _:
            return settings.user.encode()


async def _secret(settings: ImapSettings) -> str:
    if settings.secret_file is None:
        return ""
    try:
        secret = (await asyncio.to_thread(settings.secret_file.read_text, "utf-8")).strip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        raise MailboxFault(Reason.FILES, f"secret_file cannot be read ({type(e).__name__})") from None
    if not secret or any(c in secret for c in "\0\r\n"):
        raise MailboxFault(Reason.FILES, "secret_file is not one line")
    return secret
