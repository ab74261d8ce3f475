"""The mail's bytes: headers, encodings, attachments. Source: spec/mssante.md §1.2, RFC 5322, 2047, 2231."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.mss import mail, wording
from connectors.mss.plan import Leg, MailPlan, from_json, to_json
from connectors.smtp.pool import transparent, xtext
from fixtures import build
from gateway.errors import GatewayBug
from tests.mss import samples
from tests.mss.samples import accepted, preparation


def plan() -> MailPlan:
    """The plan of the first recipient of the default transmission."""
    verdict = asyncio.run(samples.connector().prepare(preparation()))
    return from_json(accepted(verdict).deliveries[0].plan)


PLAN = plan()
ZIP = mail.Attachment("application/zip", mail.ARCHIVE_NAME, bytes(range(256)) * 300)


def parse(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.SMTP)


def test_plan_survives_json() -> None:
    assert from_json(to_json(PLAN)) == PLAN
    with pytest.raises(GatewayBug):
        from_json(b'{"recipient": "x"}')


def test_headers_of_the_profile() -> None:
    """§1.2: Subject ECO.2.1.3, Message-ID, MIME tree ECO.2.1.1."""
    message = parse(mail.build(PLAN, "corps", [ZIP]))
    assert message["Subject"] == "XDM/1.0/DDM+CR d'examens biologiques TEST-DURAND CAMILLE 03/12/1984"
    assert message["From"] == "Hôpital fictif de l'Essai <passerelle@test-hopital.mssante.fr>"
    assert message["Message-ID"] == PLAN.message_id
    assert message["Date"].datetime == PLAN.created
    assert message["Disposition-Notification-To"] is None
    assert message["X-MSS-MES"] is None
    assert message.get_content_type() == "multipart/mixed"
    text, archive = message.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert text.get_content() == "corps\r\n"
    assert archive.get_filename() == "IHE_XDM.ZIP"
    assert archive.get_content_type() == "application/zip"
    assert archive.get_payload(decode=True) == ZIP.content


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 57 * 4096 - 1, 57 * 4096, 57 * 4096 + 1, 700_000])
def test_attachments_of_any_size_come_back(size: int) -> None:
    content = build.pdf(size)[:size]
    raw = mail.build(PLAN, "x", [replace(ZIP, content=content)])
    *_, attachment = parse(raw).iter_parts()
    assert attachment.get_payload(decode=True) == content
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")


texts = st.text(st.characters(codec="utf-8"), max_size=200)
addresses = st.sampled_from(["a@b.fr", "dr.x+y@c.mssante.fr"])


@settings(max_examples=150, deadline=None)
@given(subject=texts, name=texts, display=texts, body=texts, reply=st.lists(addresses, max_size=12))
@example(subject="s", name="n", display="d", body="0\r\x85", reply=[])
def test_no_text_can_add_or_break_a_header(
    subject: str, name: str, display: str, body: str, reply: list[str]
) -> None:
    """Header injection is impossible, and every text comes back on one line."""
    made = replace(PLAN, subject=subject, sender_name=display, reply_to=tuple(reply))
    raw = mail.build(made, body, [mail.Attachment("application/pdf", name, b"%PDF-1.4")])
    head = raw.partition(b"\r\n\r\n")[0]
    names = re.findall(rb"^([A-Za-z-]+):", head, re.MULTILINE)
    expected = [b"From", b"To", b"Subject", b"Date", b"Message-ID"]
    expected += [b"Reply-To"] if reply else []
    expected += [b"X-MSS-CODECDA", b"X-MSS-INS", b"X-MSS-NIL", b"MIME-Version", b"Content-Type"]
    assert names == expected
    assert all(line[:1] == b" " or re.match(rb"[A-Za-z-]+:", line) for line in head.split(b"\r\n"))
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = parse(raw)
    words = str(message["Subject"])
    assert words.split() == wording.one_line(subject).split()
    assert message["From"].addresses[0].addr_spec == PLAN.sender
    parts = list(message.iter_parts())
    assert len(parts) == 2
    # what ends a line may change, empty lines at the end too: the words do not
    assert "\n".join(parts[0].get_content().splitlines()).rstrip() == "\n".join(body.splitlines()).rstrip()
    assert parts[1].get_payload(decode=True) == b"%PDF-1.4"


def test_an_accented_pdf_name_is_rfc_2231() -> None:
    """§1.2: name of ECO.2.1.6 with accents."""
    name = "20220531_CR d'imagerie médicale_CORSE_FIGATELLIX.pdf"
    raw = mail.build(PLAN, "x", [mail.Attachment("application/pdf", name, b"%PDF-")])
    *_, part = parse(raw).iter_parts()
    assert part.get_filename() == name


def test_a_value_that_is_not_ascii_is_our_own_bug() -> None:
    bad: list[dict[str, Any]] = [
        {"recipient": "é@b.fr"},
        {"message_id": "<a>\r\nX: y"},
        {"product_reference": "a\nb"},
    ]
    for changes in bad:
        with pytest.raises(GatewayBug):
            mail.build(replace(PLAN, **changes), "x", [])


def test_fin_only_on_the_patient_leg() -> None:
    """§1.2: X-MSS-MES is for the patient leg only."""
    assert parse(mail.build(replace(PLAN, final=True), "x", []))["X-MSS-MES"] is None
    patient = replace(PLAN, final=True, leg=Leg.PATIENT)
    assert parse(mail.build(patient, "x", []))["X-MSS-MES"] == "FIN"


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(0, 5000), max_size=3), body=texts)
def test_size_bound_is_an_upper_bound(sizes: list[int], body: str) -> None:
    raw = mail.build(PLAN, body, [replace(ZIP, name="é" * 110, content=bytes(size)) for size in sizes])
    assert len(raw) <= mail.size_bound(PLAN, body, sizes)


def test_transparency_and_xtext() -> None:
    """RFC 5321 §4.5.2 and RFC 3461 §4."""
    assert transparent(b".a\r\n.b\r\n..c\r\nd.\r\n") == b"..a\r\n..b\r\n...c\r\nd.\r\n"
    clean = b"a\r\nb\r\n"
    assert transparent(clean) is clean
    assert xtext("a+b=c d~!é") == "a+2Bb+3Dc+20d~!+C3+A9"


@pytest.mark.parametrize(
    ("birth", "expected"),
    [("19841203", "03/12/1984"), ("19841203101500+0100", "03/12/1984"), ("1984", ""), ("", "")],
)
def test_birth_date_of_the_subject(birth: str, expected: str) -> None:
    """ECO.2.1.3: dd/mm/yyyy, the only optional part."""
    assert wording.french_date(birth) == expected


def test_pdf_name_follows_eco_2_1_6() -> None:
    document = samples.document(build.cda_n1(type_label='CR / "opératoire" : genou?' + "x" * 60))
    name = wording.pdf_name(document, "26/01\n07")
    assert name == f"20260109_{('CR opératoire genou ' + 'x' * 60)[:40]}_TEST-DURAND_CAMILLE_26 01 07.pdf"


def test_ascii_form_never_fails() -> None:
    assert wording.ascii_form("Œdème – l’été 日本") == "OEdeme - l'ete ??"


def test_ins_complete_needs_every_trait() -> None:
    """ECO.2.4.2."""
    document = samples.document(build.cda_n1())
    assert wording.ins_complete(document)
    assert not wording.ins_complete(samples.document(build.cda_n1(with_ins=False)))
    patient: Any = document.header.patient
    for name in ("birth_family", "birth_given", "birth_time", "gender"):
        header = replace(document.header, patient=replace(patient, **{name: ""}))
        assert not wording.ins_complete(replace(document, header=header))
