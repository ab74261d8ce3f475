"""The operator simulator's mailboxes over IMAP, by the standard library's client. Source: RFC 3501, 2177, 6851."""

from __future__ import annotations

import asyncio
import base64
import imaplib
import time
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from connectors.mss.simulator import Fault
from connectors.mss.simulator.store import Folder, Message
from tests.mss.simulator_client import DOCTOR, PFI, ByHand, client_tls, imap, mail, open_imap, running, send


@pytest.mark.parametrize(
    ("tls", "certificate"),
    [("none", False), ("starttls", False), ("starttls", True), ("implicit", False), ("implicit", True)],
)
async def test_a_mail_is_read_byte_for_byte(tmp_path: Path, tls: str, certificate: bool) -> None:
    """SMTP in, IMAP out, with and without TLS and client certificate: the bytes after the operator's traces."""
    async with running(tmp_path, tls=tls, client_certificate=certificate) as operator:
        assert (await send(operator)).startswith("250")

        def read(client: imaplib.IMAP4) -> tuple[bytes, bytes]:
            assert client.select()[0] == "OK"
            _, found = client.uid("SEARCH", "UNSEEN")
            _, data = client.uid(
                "FETCH", found[0].decode(), "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"
            )
            return data[0]

        head, content = await imap(operator, read, DOCTOR)
    assert content.endswith(mail())
    assert content.startswith(b"Return-Path: <" + PFI.encode() + b">\r\n")
    assert b"RFC822.SIZE %d" % len(content) in head
    assert b"UID 1" in head and b"FLAGS (\\Recent)" in head


async def test_a_uid_is_never_seen_before_a_lower_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 3501 §2.3.1.1: a client that asks for what is above the last one must not miss a mail written slowly."""
    folder = Folder("INBOX", 1, tmp_path)
    write, seen = folder._write, []

    def slowly_at_first(message: Message) -> None:
        time.sleep(0.2 if message.uid == 1 else 0)
        write(message)

    monkeypatch.setattr(folder, "_write", slowly_at_first)
    folder.watchers.add(lambda: seen.append([m.uid for m in folder.messages]))
    now = datetime.now(UTC)
    await asyncio.gather(*(folder.append(b"", b"x", (), now) for _ in range(3)))
    assert seen[-1] == [1, 2, 3] and all(uids == sorted(uids) and uids[0] == 1 for uids in seen)


async def test_flags_move_copy_and_expunge(tmp_path: Path) -> None:
    """UID STORE, UID COPY, UID MOVE, EXPUNGE, and what SEARCH says afterwards."""
    async with running(tmp_path) as operator:
        for number in range(1, 6):
            await send(operator, mail(number))

        def work(client: imaplib.IMAP4) -> None:
            assert client.create("Traite")[0] == "OK"
            assert client.create("traite/KO")[0] == "OK"
            assert sorted(client.list()[1]) == [b'() "/" "INBOX"', b'() "/" "Traite"', b'() "/" "traite/KO"']
            client.select()
            assert client.uid("STORE", "1,3", "+FLAGS", "(\\Seen $MDNSent)")[0] == "OK"
            assert client.uid("SEARCH", "SEEN") == ("OK", [b"1 3"])
            assert client.uid("SEARCH", "UNSEEN", "UID", "3:*") == ("OK", [b"4 5"])
            assert client.uid("SEARCH", "KEYWORD", "$MDNSent", "NOT", "UID", "1") == ("OK", [b"3"])
            assert client.uid("SEARCH", "HEADER", "Message-ID", "<m2@hopital-a.mssante.fr>") == ("OK", [b"2"])
            assert client.uid("SEARCH", "OR", "UID", "5", "SUBJECT", "rien") == ("OK", [b"5"])
            assert client.uid("COPY", "2", "traite/KO")[0] == "OK"
            assert client.uid("MOVE", "1:2", "Traite")[0] == "OK"
            assert client.uid("SEARCH", "ALL") == ("OK", [b"3 4 5"])
            client.uid("STORE", "4", "+FLAGS.SILENT", "(\\Deleted)")
            assert client.expunge()[1][-1] == b"2"
            assert client.search(None, "ALL") == ("OK", [b"1 2"])
            assert client.status("Traite", "(MESSAGES UNSEEN UIDNEXT)")[1] == [
                b'"Traite" (MESSAGES 2 UNSEEN 1 UIDNEXT 3)'
            ]
            assert client.append("Traite", "(\\Seen)", None, mail(9))[0] == "OK"
            assert client.status("Traite", "(MESSAGES)")[1] == [b'"Traite" (MESSAGES 3)']
            assert client.unselect()[0] == "OK"
            assert client.select("absent")[0] == "NO"

        await imap(operator, work, DOCTOR)
        actions = [e.action for e in operator.events]
    assert actions.count("move") == 2 and actions.count("copy") == 1 and actions.count("expunge") == 1


async def test_sections_and_envelope(tmp_path: Path) -> None:
    """FETCH of headers, of text, of parts of bytes; reading without PEEK marks as seen, EXAMINE never does."""
    async with running(tmp_path) as operator:
        await send(operator)

        def work(client: imaplib.IMAP4) -> None:
            client.select(readonly=True)
            _, data = client.uid("FETCH", "1", "(BODY[])")
            whole = data[0][1]
            assert client.uid("SEARCH", "SEEN") == ("OK", [b""])
            assert client.uid("STORE", "1", "+FLAGS", "(\\Seen)")[0] == "NO"
            client.select()
            _, data = client.uid("FETCH", "1", "(BODY.PEEK[HEADER.FIELDS (Subject Message-ID)])")
            assert data[0][1] == (
                b"Subject: XDM/1.0/DDM+CR essai NOM Prenom\r\nMessage-ID: <m1@hopital-a.mssante.fr>\r\n\r\n"
            )
            _, data = client.uid("FETCH", "1", "(BODY.PEEK[TEXT])")
            assert data[0][1] == "été\r\n.point\r\n..deux\r\n".encode()
            _, data = client.uid("FETCH", "1", "(BODY.PEEK[]<10.20>)")
            assert data[0][1] == whole[10:30]
            _, data = client.fetch("1", "(ENVELOPE)")
            assert (
                b'"<m1@hopital-a.mssante.fr>"' in data[0] and b'"dr.martin" "hopital-b.mssante.fr"' in data[0]
            )
            assert client.uid("SEARCH", "SEEN") == ("OK", [b""])
            _, data = client.uid("FETCH", "1", "(RFC822)")
            assert data[0][1] == whole
            assert client.uid("SEARCH", "SEEN") == ("OK", [b"1"])

        await imap(operator, work, DOCTOR)


async def test_parts_are_slices_of_the_mail(tmp_path: Path) -> None:
    """BODYSTRUCTURE and numbered sections: parts as they came, of an enclosed message too (RFC 3501 §6.4.5)."""
    inner = EmailMessage()
    inner["Subject"] = "dedans"
    inner.set_content("texte intérieur")
    inner.add_attachment(b"zip-bytes", "application", "zip", filename="IHE_XDM.ZIP")
    outer = EmailMessage()
    outer["From"], outer["To"], outer["Subject"] = PFI, DOCTOR, "dehors"
    outer.set_content("texte")
    outer.add_attachment(b"%PDF-1.4", "application", "pdf", filename="copie d'été.pdf")
    outer.add_attachment(inner, filename="message_original.eml")
    raw = outer.as_bytes(policy=policy.SMTP)
    parsed = message_from_bytes(raw, policy=policy.SMTP)
    enclosed = parsed.get_payload()[2].get_payload()[0]

    def work(client: imaplib.IMAP4) -> None:
        client.select(readonly=True)

        def section(name: str) -> bytes:
            _, data = client.uid("FETCH", "1", f"(BODY.PEEK[{name}])")
            return data[0][1]

        assert section("1") == b"texte\r\n"
        assert base64.b64decode(section("2")) == b"%PDF-1.4"
        assert section("2.MIME").startswith(b"Content-Type: application/pdf")
        assert section("3") in raw and b"Subject: dedans" in section("3")
        assert section("3.HEADER.FIELDS (Subject)") == b"Subject: dedans\r\n\r\n"
        assert section("3.TEXT") in raw
        assert (
            base64.b64decode(section("3.2"))
            == b"zip-bytes"
            == enclosed.get_payload()[1].get_payload(decode=True)
        )
        assert section("4") == b"" == section("2.1")
        _, data = client.uid("FETCH", "1", "(BODYSTRUCTURE)")
        told = b"".join(d if isinstance(d, bytes) else b"".join(d) for d in data)
        for expected in (
            b'("TEXT" "PLAIN" ("CHARSET" "utf-8")',
            b'("APPLICATION" "PDF" NIL NIL NIL "BASE64" %d NIL ("ATTACHMENT"' % len(section("2")),
            b'("MESSAGE" "RFC822"',
            b'(NIL "dedans" NIL',
            b'"MIXED" ("BOUNDARY"',
        ):
            assert expected in told, told

    async with running(tmp_path) as operator:
        await send(operator, raw)
        await imap(operator, work, DOCTOR)


async def test_idle_tells_a_new_mail_at_once(tmp_path: Path) -> None:
    """RFC 2177: EXISTS is pushed; what another session does is pushed too."""
    async with running(tmp_path) as operator, ByHand.connected(operator, DOCTOR) as client:
        assert "* 0 EXISTS" in await client.do("SELECT INBOX")
        client.say("i IDLE")
        assert (await client.line()).startswith("+ ")
        await send(operator)
        assert await client.line() == "* 1 EXISTS"
        assert await client.line() == "* 1 RECENT"

        flag = ("STORE", "1", "+FLAGS", "(\\Deleted)")
        await imap(operator, lambda other: (other.select(), other.uid(*flag)), DOCTOR)
        assert (await client.line()).startswith("* 1 FETCH (FLAGS (\\Deleted")
        await imap(operator, lambda other: (other.select(), other.expunge()), DOCTOR)
        assert await client.line() == "* 1 EXPUNGE"
        client.say("DONE")
        assert (await client.line()).startswith("i OK")
        assert await client.do("NOOP") == []


async def test_numbers_do_not_move_under_a_client(tmp_path: Path) -> None:
    """RFC 3501 §7.4.1: no EXPUNGE is told during FETCH, STORE or SEARCH by number; the next NOOP tells it."""
    async with running(tmp_path) as operator, ByHand.connected(operator, DOCTOR) as client:
        await send(operator, mail(1))
        await send(operator, mail(2))
        await client.do("SELECT INBOX")
        await imap(
            operator,
            lambda other: (other.select(), other.uid("STORE", "1", "FLAGS", "(\\Deleted)"), other.expunge()),
            DOCTOR,
        )
        assert await client.do("SEARCH ALL") == ["* SEARCH 1 2"]
        assert await client.do("FETCH 2 (UID)") == ["* 2 FETCH (UID 2)"]
        assert await client.do("NOOP") == ["* 1 EXPUNGE"]
        assert await client.do("FETCH 1 (UID)") == ["* 1 FETCH (UID 2)"]


async def test_accounts_are_apart(tmp_path: Path) -> None:
    """A wrong password is refused, with AUTHENTICATE as with LOGIN; nobody reads another's mailbox."""
    async with running(tmp_path, mailboxes=[PFI, DOCTOR], closed=True) as operator:
        await send(operator, notify="NEVER")
        with pytest.raises(imaplib.IMAP4.error):
            await asyncio.to_thread(open_imap, operator, PFI, "faux")
        with pytest.raises(imaplib.IMAP4.error):
            await asyncio.to_thread(open_imap, operator, "inconnu@hopital-a.mssante.fr")
        assert (await imap(operator, lambda c: c.select(), PFI))[1] == [b"0"]
        assert (await imap(operator, lambda c: c.select(), DOCTOR))[1] == [b"1"]
        async with ByHand.connected(operator, "") as client:
            await client.do("SELECT INBOX", "NO")
            await client.do("AUTHENTICATE PLAIN AGZhdXgAZmF1eA==", "NO")
            await client.do("AUTHENTICATE EXTERNAL =", "NO")


async def test_external_opens_the_mailbox_that_is_named(tmp_path: Path) -> None:
    """SASL EXTERNAL with the client certificate: the address is the authorisation identity."""
    async with running(tmp_path, tls="implicit", auth="external") as operator:

        def login(user: str) -> int:
            client = imaplib.IMAP4_SSL("localhost", operator.imap_port, ssl_context=client_tls(operator))
            try:
                client.authenticate("EXTERNAL", lambda _: user.encode())
                return int(client.select()[1][0])
            finally:
                client.shutdown()

        assert await asyncio.to_thread(login, "") == 0
        assert await asyncio.to_thread(login, DOCTOR) == 0


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "x FETCH",
        "x UID",
        "x UID NOOP",
        "x FETCH 1 RIEN",
        "x FETCH 1 BODY[0]",
        "x FETCH 1 BODY[1.MIME.2]",
        "x FETCH (1) UID",
        "x FETCH 1 ((((((((((((((((((((((((",
        "x SEARCH",
        "x SEARCH SINCE hier",
        "x STORE 1 FLAGS \\Nouveau",
        "x STORE 1 ?FLAGS x",
        'x LOGIN "a',
        "x SELECT",
        "x APPEND INBOX {99999999999}",
        "* NOOP",
        "x é",
        "x UID EXPUNGE",
        "x STATUS INBOX (RIEN)",
    ],
)
async def test_what_cannot_be_read_is_answered_bad(tmp_path: Path, line: str) -> None:
    """A malformed command is answered, and the session goes on."""
    async with running(tmp_path) as operator, ByHand.connected(operator) as client:
        await send(operator, recipients=[PFI])
        await client.do("SELECT INBOX")
        client.say(line)
        answer = await client.line()
        assert answer.split(" ", 2)[1] == "BAD", answer
        await client.do("NOOP")


async def test_an_endless_line_closes_the_session(tmp_path: Path) -> None:
    """Nothing is kept in memory without bound."""
    async with running(tmp_path) as operator, ByHand.connected(operator) as client:
        client.writer.write(b"x " + b"a" * 1_000_000)
        try:
            assert await client.reader.read() == b""
        except ConnectionError:
            pass


async def test_a_planned_fault_at_imap(tmp_path: Path) -> None:
    """imap_login, imap_busy, imap_cut: each once, then as usual; a cut FETCH leaves the mail unseen by EXAMINE."""
    async with running(tmp_path) as operator:
        await send(operator)
        for kind in ("imap_login", "imap_busy", "imap_cut"):
            operator.plan(Fault(kind, DOCTOR))
        with pytest.raises(imaplib.IMAP4.error):
            await imap(operator, lambda c: None, DOCTOR)
        assert (await imap(operator, lambda c: c.select(), DOCTOR))[0] == "NO"

        def cut(client: imaplib.IMAP4) -> None:
            client.select(readonly=True)
            with pytest.raises(imaplib.IMAP4.abort):
                # a FETCH without a body does not use the fault up
                assert client.uid("FETCH", "1", "(RFC822.SIZE)")[0] == "OK"
                client.uid("FETCH", "1", "(BODY.PEEK[])")

        await imap(operator, cut, DOCTOR)
        assert (await imap(operator, lambda c: c.select(), DOCTOR))[1] == [b"1"]


async def test_the_folder_store_survives_a_restart(tmp_path: Path) -> None:
    """UIDVALIDITY, UIDs, flags, folders and bytes are the same after a restart; a UID is never given again."""

    def look(client: imaplib.IMAP4) -> tuple[object, ...]:
        client.select("Traite", readonly=True)
        validity = client.response("UIDVALIDITY")[1]
        kept = client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")[1]
        return validity, kept[0][1], b"\\Flagged" in kept[0][0]

    def sort(client: imaplib.IMAP4) -> None:
        client.create("Traite")
        client.select()
        client.uid("STORE", "2", "+FLAGS", "(\\Flagged)")
        client.uid("MOVE", "2", "Traite")

    async with running(tmp_path, keep=True) as operator:
        await send(operator, mail(1))
        await send(operator, mail(2))
        await imap(operator, sort, DOCTOR)
        before = await imap(operator, look, DOCTOR)
    async with running(tmp_path, keep=True) as operator:
        assert await imap(operator, look, DOCTOR) == before
        assert before[1].endswith(mail(2)) and before[2] is True
        await send(operator, mail(3))
        await imap(operator, lambda c: c.select(), DOCTOR)
        assert [m.uid for m in operator.boxes.folder(DOCTOR, "INBOX").messages] == [1, 3]


async def test_a_restored_folder_has_another_uidvalidity(tmp_path: Path) -> None:
    """After a restore the client must forget its UIDs: a session under way is closed, the next sees a new value."""
    async with running(tmp_path, keep=True) as operator, ByHand.connected(operator, DOCTOR) as client:
        await send(operator, mail(1))
        await send(operator, mail(2))
        before = [line for line in await client.do("SELECT INBOX") if "UIDVALIDITY" in line]
        await imap(
            operator, lambda c: (c.select(), c.uid("STORE", "1", "FLAGS", "(\\Deleted)"), c.expunge()), DOCTOR
        )
        operator.restore(DOCTOR)
        client.say("x NOOP")
        assert (await client.line()).startswith("* BYE")
        async with ByHand.connected(operator, DOCTOR) as again:
            lines = await again.do("SELECT INBOX")
            assert [line for line in lines if "UIDVALIDITY" in line] != before
            assert await again.do("UID FETCH 1 (UID)") == ["* 1 FETCH (UID 1)"]
        assert operator.boxes.folder(DOCTOR, "INBOX").messages[0].content.endswith(mail(2))
