"""One error mail at a time: who gets it, its subject, what is attached, what does not fit or cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from connectors.errors.connector import ErrorsConnector
from connectors.errors.plan import from_json
from connectors.errors.settings import ErrorsSettings, load
from connectors.mailbox_port import IncidentReport
from connectors.mss.receipts.model import Kind
from connectors.mss.receipts.reading import classify
from connectors.mss.simulator import Fault, Mail, OperatorSimulator
from connectors.port import DeliveryJob, Original, Outcome, OutcomeClass, PlannedDelivery, Predecessor
from fixtures import build
from gateway.check import check
from gateway.errors import ConfigurationFault
from gateway.hl7.transmission import Action
from tests.errors.world import BOX, FROM, OID, attachments, documents, made, operating, table
from tests.mss.inbound import samples

NOW = datetime(2026, 11, 20, 14, 3, 9, tzinfo=UTC)
RELAY = "erreurs@relais.hopital-test.fr"
TABLE: dict[str, Any] = {
    "host": "127.0.0.1",
    "tls": "none",
    "from_address": FROM,
    "to": [BOX],
    "source_oid": OID,
}
ROUTE = "SIL-ESSAI|HOPITAL-ESSAI"
RECEIVED = samples.mail()
"""A mail of another hospital, made by our own sender."""
LARGE = samples.mail(Action.SUBMIT, build.cda_n1(payload=build.pdf(300_000)))


@dataclass(slots=True)
class Content:
    """Bytes of the journal."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    async def read(self) -> bytes:
        return self.content


def settings(**keys: Any) -> ErrorsSettings:
    return load(TABLE | keys, Path())


def incident(number: int = 1, flow: str = "outbound", code: str = "550", **words: Any) -> IncidentReport:
    told = {
        "destination": "mss",
        "recipient": "dr.x@hopital.mssante.fr",
        "control_id": f"MSG{number}",
        "uids": ["1.2"],
    }
    if flow == "inbound":
        told = {"mailbox": "pneumo@test-hopital.mssante.fr"}
    route = words.pop("route", ROUTE)
    return IncidentReport(number, NOW, flow, code, route, told | {"label": "Boîte inconnue"} | words)


def job(
    planned: PlannedDelivery, originals: dict[int, bytes], kind: Any = "message", complete: bool = True
) -> DeliveryJob:
    return DeliveryJob(
        id=1,
        destination="errors",
        recipient=planned.recipient,
        action=Action.SUBMIT,
        plan=planned.plan,
        documents=(),
        attempt=1,
        predecessor=Predecessor.NONE,
        now=NOW,
        originals=tuple(Original(n, kind, complete, Content(raw)) for n, raw in originals.items()),
    )


async def sent(
    operator: OperatorSimulator,
    base: Path,
    incidents: list[IncidentReport],
    originals: dict[int, bytes],
    kind: str = "message",
    complete: bool = True,
    **keys: Any,
) -> tuple[Mail, Outcome]:
    """The mail of `incidents` as the operator took it."""
    connector: ErrorsConnector = made(table(operator, **keys), base)
    await connector.start()
    try:
        (planned,) = connector.plan_reports(incidents, NOW)
        outcome = await connector.deliver(job(planned, originals, kind, complete))
    finally:
        await connector.stop()
    assert outcome.outcome is OutcomeClass.SUCCESS, outcome
    return operator.mails[-1], outcome


# --- who is told ----------------------------------------------------------------------------------------------------


def test_the_first_row_that_fits_is_used() -> None:
    """By route, by organisation, by flow; else the default."""
    rows = [
        {"to": ["bio@h.mssante.fr"], "route": "SIL|HOPITAL-A"},
        {"to": ["recu@h.mssante.fr"], "flows": ["inbound"]},
        {"to": ["b@h.mssante.fr", "b2@h.mssante.fr"], "organisation": "HOPITAL-B"},
        {"to": ["ris@h.mssante.fr"], "route": "RIS|*", "flows": ["outbound"]},
    ]
    s = settings(mailboxes=rows)
    for route, flow, expected in (
        ("SIL|HOPITAL-A", "outbound", "bio@h.mssante.fr"),
        ("pneumo", "inbound", "recu@h.mssante.fr"),
        ("SIL|HOPITAL-B", "outbound", "b@h.mssante.fr"),
        ("RIS|HOPITAL-C", "outbound", "ris@h.mssante.fr"),
        ("RIS|HOPITAL-C", "refused", BOX),
        ("SIL|HOPITAL-AB", "outbound", BOX),
    ):
        assert s.row(route, flow).to[0] == expected, (route, flow)
    # of a received mail: the establishment of its mailbox's DPI, or the mailbox by its name
    rows = [
        {"to": ["b@h.mssante.fr"], "organisation": "HOPITAL-B"},
        {"to": ["a@h.mssante.fr"], "route": "DPI|*"},
    ]
    s = settings(mailboxes=[*rows, {"to": ["radio@h.mssante.fr"], "route": "radio"}])
    for dpi, expected in (("DPI|HOPITAL-B", "b"), ("DPI|HOPITAL-A", "a"), ("", "radio"), ("RIS|C", "radio")):
        assert s.row("radio", "inbound", dpi).to == (f"{expected}@h.mssante.fr",)


def test_the_errors_of_a_received_mail_are_those_of_its_hospital() -> None:
    connector = made(TABLE | {"mailboxes": [{"to": [RELAY], "organisation": "HOPITAL-B"}]}, Path())
    connector.serve({"bal-b": "DPI|HOPITAL-B"})
    mine = incident(1, "inbound", route="bal-b")
    assert list(connector.mailboxes_of(mine.route, mine.flow)) == [RELAY]
    assert [p.recipient for p in connector.plan_reports([mine], NOW)] == [RELAY]
    assert list(connector.mailboxes_of("bal-a", "inbound")) == [BOX]


def test_the_plan_of_a_flood_is_small() -> None:
    """Fifty reasons each would be megabytes in the journal and in the event loop."""
    many = [incident(n, "refused", reasons=["x" * 120] * 50) for n in range(1000)]
    (planned,) = made(TABLE, Path()).plan_reports(many, NOW)
    assert len(planned.plan) < 500_000
    (alone,) = made(TABLE, Path()).plan_reports(many[:1], NOW)
    assert len(from_json(alone.plan).told[0].reasons) == 50


def test_one_plan_for_each_mailbox_and_the_same_mail_for_ever() -> None:
    connector = made(TABLE | {"to": [BOX, RELAY]}, Path())
    planned = connector.plan_reports([incident(1), incident(2)], NOW)
    assert [p.recipient for p in planned] == [BOX, RELAY]
    plans = [from_json(p.plan) for p in planned]
    assert all(p.count == 2 and [t.id for t in p.told] == [1, 2] for p in plans)
    assert [p.keys for p in planned] == [(p.envid,) for p in plans] and plans[0].envid != plans[1].envid
    # the patient is named towards MSSanté alone, unless the settings say otherwise
    assert [p.patient_in_subject for p in plans] == [True, False]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"to": [FROM]}, "from_address itself"),
        ({"to": [FROM.upper()]}, "from_address itself"),
        ({"mailboxes": [{"to": [FROM]}]}, "from_address itself"),
        ({"to": []}, "to:"),
        ({"to": ["not an address"]}, "not a mail address"),
        ({"to": [BOX, BOX.upper()]}, "the same mailbox twice"),
        ({"source_oid": "abc"}, "not an OID"),
        ({"mailboxes": [{"to": [BOX], "flows": ["outbond"]}]}, "flows"),
        ({"adress": 1}, "adress"),
    ],
)
def test_settings_that_are_wrong(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationFault, match=problem) as e:
        settings(**keys)
    assert BOX not in str(e.value)


@pytest.mark.parametrize(
    "routes", ["", '[connectors.dpi]\nroutes = [{ application = "RIS", host = "127.0.0.1", port = 2576 }]']
)
def test_check_config_refuses_a_mailbox_whose_documents_could_go_nowhere(routes: str, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    (tmp_path / "secret").write_text("x")
    config.write_text(
        f"""
[connectors.mss]
host = "127.0.0.1"
tls = "none"
from_address = "passerelle@test-hopital.mssante.fr"
source_oid = "{OID}"
[[connectors.mss.mailboxes]]
address = "passerelle@test-hopital.mssante.fr"
host = "127.0.0.1"
tls = "none"
user = "x"
secret_file = "secret"
dpi = {{ application = "DPI", facility = "HOPITAL-A" }}
{routes}
""",
        encoding="utf-8",
    )
    wrong, _warnings, _good = check(config)
    assert wrong == ["mailbox bal: no route of connectors.dpi reaches its dpi"]


@pytest.mark.parametrize(
    "address", ["passerelle@test-hopital.mssante.fr", "Passerelle@TEST-hopital.mssante.fr"]
)
def test_check_config_refuses_an_error_mailbox_that_the_gateway_reads(address: str, tmp_path: Path) -> None:
    """A loop: what is told there would come back as mail to treat."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        f"""
[connectors.mss]
host = "127.0.0.1"
tls = "none"
from_address = "passerelle@test-hopital.mssante.fr"
source_oid = "{OID}"
[connectors.errors]
host = "127.0.0.1"
tls = "none"
from_address = "{FROM}"
to = ["{address}"]
source_oid = "{OID}"
""",
        encoding="utf-8",
    )
    wrong, _warnings, _good = check(config)
    assert wrong == ["connectors.errors: an error mailbox is an applicative mailbox of the gateway"]


# --- what is in it --------------------------------------------------------------------------------------------------


async def test_a_mailbox_outside_mssante_gets_no_name_in_the_subject(tmp_path: Path) -> None:
    async with operating(tmp_path) as operator:
        raw = build.mdm("T02", build.cda_n1())
        mail, _ = await sent(operator, tmp_path, [incident()], {1: raw}, to=[RELAY])
        assert (
            mail.message["Subject"]
            == "[KO Intégration système !][550] Envoi MSSanté non abouti - message MSG1"
        )


async def test_an_oru_with_two_documents_is_one_archive_and_every_pdf(tmp_path: Path) -> None:
    parts = [build.cda_n1(payload=build.pdf(5_000)), build.cda_n3()]
    async with operating(tmp_path) as operator:
        mail, _ = await sent(operator, tmp_path, [incident()], {1: build.oru("submit", parts)})
        files = attachments(mail)
        assert [d.document.content for d in documents(files["IHE_XDM.ZIP"])] == parts
        assert next(iter(files)) == "IHE_XDM.ZIP"
        assert sum(name.endswith(".pdf") for name in files) >= 1


@pytest.mark.parametrize("event", ["T10", "T04"])
async def test_a_replacement_and_a_deletion_say_so_in_the_archive(event: str, tmp_path: Path) -> None:
    """`urn:action:extraMetadataSlot`: a person who integrates by hand must not make a second document of it."""
    root = build.DOCUMENT_ROOT
    cda = build.cda_n1(uid=f"{root}.9.2", set_id=f"{root}.9", version=2, replaces=f"{root}.9.1")
    async with operating(tmp_path) as operator:
        mail, _ = await sent(operator, tmp_path, [incident()], {1: build.mdm(event, cda)})
        (document,) = documents(attachments(mail)["IHE_XDM.ZIP"])
        assert document.action is {"T10": Action.REPLACE, "T04": Action.DELETE}[event]


async def test_a_document_without_metadata_is_given_alone(tmp_path: Path) -> None:
    """No archive can be made: the CDA as .xml."""
    cda = build.cda_n1().replace(b"<confidentialityCode", b"<nothing", 1)
    async with operating(tmp_path) as operator:
        raw = build.mdm("T02", cda)
        mail, _ = await sent(operator, tmp_path, [incident(flow="refused")], {1: raw})
        files = attachments(mail)
        assert "IHE_XDM.ZIP" not in files
        assert files["document_1.xml"] == cda and files["message_original.hl7"] == raw


@pytest.mark.parametrize("raw", [b"", b"MSH", b"MSH|^~\\&|A", b"\x00\xff" * 50, b"<ClinicalDocument/>"])
async def test_a_message_that_nobody_can_read_is_told_with_its_bytes(raw: bytes, tmp_path: Path) -> None:
    async with operating(tmp_path) as operator:
        mail, _ = await sent(operator, tmp_path, [incident(flow="refused")], {1: raw})
        assert attachments(mail) == {"message_original.hl7": raw}


async def test_a_bug_in_what_is_made_of_an_original_does_not_keep_the_error_from_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("TEST-DURAND")

    monkeypatch.setattr("connectors.errors.rebuilding.of_message", broken)
    async with operating(tmp_path) as operator:
        raw = build.mdm("T02", build.cda_n1())
        mail, _ = await sent(operator, tmp_path, [incident()], {1: raw})
        assert attachments(mail) == {"message_original.hl7": raw}


async def test_a_zam_that_the_dpi_never_took_brings_no_document(tmp_path: Path) -> None:
    """Nobody may integrate again a document that is not concerned."""
    async with operating(tmp_path) as operator:
        raw = build.mdm("T02", build.cda_n1())
        about = incident(destination="dpi", recipient="SIL|H", uids=[])
        mail, _ = await sent(operator, tmp_path, [about], {1: raw})
        assert list(attachments(mail)) == ["message_original.hl7"]
        assert "Le document lui-même n'est pas concerné" in mail.text()


# --- received mails -------------------------------------------------------------------------------------------------


async def test_a_received_mail_is_the_courriel_standard_of_the_profile(tmp_path: Path) -> None:
    """§2.6: subject, message/rfc822 byte for byte, the archive and the PDF again."""
    raw = RECEIVED
    about = incident(
        flow="inbound", code="902", label="Identifiant de patient inconnu", reasons=["INS inconnu"]
    )
    async with operating(tmp_path) as operator:
        mail, _ = await sent(operator, tmp_path, [about], {1: raw}, "mail")
        original = str(message_from_bytes(raw, policy=policy.SMTP)["Subject"])
        assert mail.message["Subject"] == f"[KO Intégration système !][902] {original}"
        assert raw in mail.raw
        assert documents(mail.archive())
        assert "Identifiant de patient inconnu (code 902)" in mail.text() and "INS inconnu" in mail.text()
        assert classify(mail.raw) is Kind.ERROR_MAIL
        mail, _ = await sent(operator, tmp_path, [about], {1: raw}, "mail", reattach=False)
        assert list(attachments(mail)) == ["message_original.eml"]


async def test_a_received_mail_outside_mssante_names_nobody_in_the_subject(tmp_path: Path) -> None:
    async with operating(tmp_path) as operator:
        mail, _ = await sent(
            operator, tmp_path, [incident(flow="inbound", code="902")], {1: RECEIVED}, "mail", to=[RELAY]
        )
        subject = str(mail.message["Subject"])
        assert subject == "[KO Intégration système !][902] Courriel reçu non intégré - incident 1"


async def test_a_mail_that_was_too_large_to_be_fetched_is_told_by_its_headers(tmp_path: Path) -> None:
    head = b"From: a@b.mssante.fr\r\nSubject: XDM/1.0/DDM+x\r\n\r\n"
    async with operating(tmp_path) as operator:
        about = incident(flow="inbound", code="too-large")
        mail, _ = await sent(operator, tmp_path, [about], {1: head}, "mail", complete=False)
        assert list(attachments(mail)) == ["message_original_entetes.txt"]


async def test_a_receipt_brings_the_message_and_the_report(tmp_path: Path) -> None:
    """A failure told after the 250: the documents to send by hand, and what told it."""
    raw, report = (
        build.mdm("T02", build.cda_n1()),
        b"From: postmaster@x\r\nSubject: echec\r\n\r\nnon remis\r\n",
    )
    about = incident(flow="receipt", code="550", event="Z02")
    async with operating(tmp_path) as operator:
        connector = made(table(operator), tmp_path)
        await connector.start()
        (planned,) = connector.plan_reports([about], NOW)
        both = (Original(1, "message", True, Content(raw)), Original(1, "mail", True, Content(report)))
        asked = job(planned, {})
        asked = DeliveryJob(**{f: getattr(asked, f) for f in asked.__slots__} | {"originals": both})
        assert (await connector.deliver(asked)).outcome is OutcomeClass.SUCCESS
        await connector.stop()
        files = attachments(operator.mails[-1])
        assert set(files) >= {"IHE_XDM.ZIP", "message_original.hl7", "accuse_recu.eml"}
        assert "non remis au destinataire" in operator.mails[-1].text()


# --- what does not fit ----------------------------------------------------------------------------------------------


async def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    raw = build.mdm("T02", build.cda_n1(payload=build.pdf(300_000)))
    async with operating(tmp_path) as operator:
        mail, _ = await sent(operator, tmp_path, [incident()], {1: raw}, max_bytes=100_000)
        assert len(mail.raw) <= 100_000 and attachments(mail) == {}
        text = mail.text()
        assert "IHE_XDM.ZIP" in text and "message_original.hl7" in text and "0,1 Mo au plus" in text
        mail, _ = await sent(
            operator, tmp_path, [incident(flow="inbound")], {1: LARGE}, "mail", max_bytes=100_000
        )
        assert len(mail.raw) <= 100_000 and "message_original.eml" in mail.text()


async def test_a_mail_that_the_operator_finds_too_large_goes_without_its_files(tmp_path: Path) -> None:
    """552 to the final dot: better told poorly than not at all."""
    async with operating(tmp_path) as operator:
        operator.plan(Fault("data", BOX, times=1, code=552))
        mail, _ = await sent(operator, tmp_path, [incident()], {1: build.mdm("T02", build.cda_n1())})
        assert attachments(mail) == {} and "IHE_XDM.ZIP" in mail.text()
        assert len(operator.mails) == 1


async def test_an_attempt_that_is_repeated_is_the_same_mail(tmp_path: Path) -> None:
    async with operating(tmp_path) as operator:
        connector = made(table(operator), tmp_path)
        await connector.start()
        raw = build.mdm("T02", build.cda_n1(payload=build.pdf(9_000)))
        (planned,) = connector.plan_reports([incident()], NOW)
        for _ in range(2):
            assert (await connector.deliver(job(planned, {1: raw}))).outcome is OutcomeClass.SUCCESS
        await connector.stop()
        first, second = operator.mails
        assert first.raw == second.raw and first.mail_dsn == second.mail_dsn


async def test_nothing_of_a_message_becomes_a_header(tmp_path: Path) -> None:
    about = incident(
        code="55\r\nBcc: x@y.fr", control_id="A\r\nBcc: x@y.fr", label="x\r\n\r\n.\r\nMAIL FROM:<>"
    )
    async with operating(tmp_path) as operator:
        mail, _ = await sent(operator, tmp_path, [about], {1: build.mdm("T02", build.cda_n1())}, to=[RELAY])
        assert mail.message["Bcc"] is None and mail.recipient == RELAY


# --- as a notification ------------------------------------------------------------------------------------------


def notification(mail: Mail) -> tuple[Any, list[str]]:
    """The fields of the notification, and the names of the files."""
    assert mail.message.get_content_type() == "multipart/report"
    assert mail.message.get_param("report-type") == "disposition-notification"
    text, fields, *files = mail.message.get_payload()
    assert text.get_content_type() == "text/plain"
    assert fields.get_content_type() == "message/disposition-notification"
    return fields.get_payload()[0], [f.get_filename() or f.get_content_type() for f in files]


async def test_an_error_as_a_notification_has_its_files_too(tmp_path: Path) -> None:
    """§2.6: "MDN as by setting", with the attachments; by mailbox, over the connector's own choice."""
    raw = build.mdm("T02", build.cda_n1(payload=build.pdf(5_000)))
    rows = [{"to": [BOX], "route": ROUTE, "form": "mdn"}]
    async with operating(tmp_path) as operator:
        standard, _ = await sent(operator, tmp_path, [incident()], {1: raw})
        mail, _ = await sent(operator, tmp_path, [incident()], {1: raw}, to=[RELAY], mailboxes=rows)
    fields, files = notification(mail)
    assert str(fields["Disposition"]).endswith("; processed/error")
    assert str(fields["Error"]) == "550^Boite inconnue^applicationErrorCondition| E^Error^errorSeverity"
    assert str(fields["Final-Recipient"]) == "rfc822;dr.x@hopital.mssante.fr"
    assert str(fields["Original-Message-ID"]).startswith("<MSG1@")
    assert files == [f.get_filename() for f in standard.message.get_payload()[1:]]
    assert {"IHE_XDM.ZIP", "message_original.hl7"} <= set(files)
    assert str(mail.message["Subject"]).startswith("[KO Intégration système !][550]")
    assert mail.message["Auto-Submitted"] == "auto-generated"


async def test_a_received_mail_as_a_notification_is_whole_and_its_files_follow(tmp_path: Path) -> None:
    async with operating(tmp_path) as operator:
        wrong = incident(1, "inbound", "902", label="Identifiant de patient inconnu")
        mail, _ = await sent(operator, tmp_path, [wrong], {1: RECEIVED}, "mail", form="mdn")
    fields, files = notification(mail)
    assert str(fields["Error"]).startswith("902^Identifiant de patient inconnu^")
    assert fields["Original-Message-ID"] == message_from_bytes(RECEIVED, policy=policy.default)["Message-ID"]
    assert files[0] == "message/rfc822" and "IHE_XDM.ZIP" in files
    assert classify(mail.raw) is Kind.MDN


async def test_a_notification_says_all_that_the_standard_mail_says(tmp_path: Path) -> None:
    """Who reads it has nothing else: every reason, and the original even when it cannot stand in a mail as it is."""
    long = RECEIVED.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * 1200 + b"\r\n\r\n", 1)
    wrong = incident(
        1, "inbound", "902", label="Identifiant inconnu", reasons=["PID-3 : absent", "TXA-9 : vide"]
    )
    async with operating(tmp_path) as operator:
        for raw, keys in ((RECEIVED, {}), (long, {}), (long, {"reattach": False})):
            mail, _ = await sent(operator, tmp_path, [wrong], {1: raw}, "mail", form="mdn", **keys)
            fields, files = notification(mail)
            assert str(fields["Error"]).startswith("902^")
            assert "PID-3 : absent" in mail.text() and "TXA-9 : vide" in mail.text()
            assert "Que faire" in mail.text()
            if raw is long:
                assert attachments(mail)["message_original.eml"] == long
            assert ("IHE_XDM.ZIP" in files) == (not keys)


async def test_the_words_of_a_destination_never_make_a_line_too_long(tmp_path: Path) -> None:
    """A server refuses such a mail for good, and nobody would hear of the error."""
    raw = build.mdm("T02", build.cda_n1())
    async with operating(tmp_path) as operator:
        for one, content, kind in (
            (incident(label="mot " * 500), raw, "message"),
            (incident(1, "inbound", "902", label="mot " * 500), RECEIVED, "mail"),
        ):
            mail, outcome = await sent(operator, tmp_path, [one], {1: content}, kind, form="mdn")
            assert outcome.outcome is OutcomeClass.SUCCESS
            assert max(map(len, mail.raw.split(b"\r\n"))) <= 998


def test_several_errors_and_alarms_are_never_a_notification() -> None:
    connector = made(TABLE | {"form": "mdn"}, Path())
    for incidents in ([incident(1), incident(2)], [incident(1, "alarm")]):
        (planned,) = connector.plan_reports(incidents, NOW)
        assert from_json(planned.plan).mdn is False
    (planned,) = connector.plan_reports([incident(1)], NOW)
    assert from_json(planned.plan).mdn is True
