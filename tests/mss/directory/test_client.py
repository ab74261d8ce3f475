"""Look-ups over real HTTP: searches, pages, key, faults, cache, circuit, time. Source: spec/mssante.md §4."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.mss.directory import client, searching
from connectors.mss.directory.client import Directory
from connectors.mss.directory.enriching import enrich
from connectors.mss.directory.failures import DirectoryUnavailable, NotToBeAsked
from connectors.mss.directory.model import MailboxType, Professional, may_be_asked
from connectors.mss.directory.simulator import Fault, create, mailbox, organisation, practitioner, role
from connectors.mss.inbound.mdm import Mailbox, Parties
from fixtures import build
from gateway.errors import ConfigurationFault
from tests.listener.certificates import Authority
from tests.mss.directory.world import (
    BERNARD,
    GATEWAY,
    HOSPITAL,
    LABORATORY,
    MARTIN,
    PRACTICE,
    RED,
    SECRETARIAT,
    UNKNOWN,
    World,
    settings_of,
    world,
)

PATIENT = f"{build.PATIENT.ins}@patient.mssante.fr"


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def addresses(entries: object) -> list[str]:
    return [e.address for e in entries]  # type: ignore[attr-defined]


# --- the three questions ----------------------------------------------------------------------------------------


async def test_the_owner_of_a_personal_mailbox(w: World) -> None:
    owner = await w.directory.owner_of(MARTIN)
    assert owner is not None
    assert (owner.type, owner.structure) == (MailboxType.PERSONAL, None)
    assert owner.person == Professional("810100000024", "MARTIN", "Dominique")
    assert owner.person.rpps == "10100000024"


async def test_the_owner_of_a_mailbox_for_the_work_in_a_structure(w: World) -> None:
    """A PractitionerRole bears it: person and structure come by `_include`."""
    owner = await w.directory.owner_of(BERNARD)
    assert owner is not None and owner.person is not None and owner.structure is not None
    assert owner.person.family == "BERNARD"
    assert (owner.structure.finess, owner.structure.finess_kind) == (HOSPITAL, "FINEG")


async def test_the_owner_of_a_structures_mailboxes(w: World) -> None:
    secretariat, gateway = await asyncio.gather(
        w.directory.owner_of(SECRETARIAT), w.directory.owner_of(GATEWAY.upper())
    )
    assert secretariat is not None and secretariat.type is MailboxType.ORGANISATIONAL
    assert gateway is not None and gateway.type is MailboxType.APPLICATION
    assert gateway.person is None and gateway.structure == secretariat.structure
    laboratory = await w.directory.owner_of(LABORATORY)
    assert laboratory is not None and laboratory.structure is not None
    assert laboratory.structure.siret == "99999999900012"


async def test_a_practices_mailbox_has_no_person(w: World) -> None:
    owner = await w.directory.owner_of(PRACTICE)
    assert owner is not None and (owner.type, owner.person) == (MailboxType.PRACTICE, None)


async def test_nobodys_mailbox_is_asked_once(w: World) -> None:
    assert await w.directory.owner_of(UNKNOWN) is None
    asked = len(w.simulator.asked)
    assert asked == 3
    assert await w.directory.owner_of(UNKNOWN) is None
    assert len(w.simulator.asked) == asked


async def test_a_contacts_email_is_no_mailbox(w: World) -> None:
    assert await w.directory.owner_of("contact@hopital-fictif.example") is None


@pytest.mark.parametrize("number", ["10100000032", "810100000032"])
async def test_the_mailboxes_of_a_professional(w: World, number: str) -> None:
    (entry,) = await w.directory.addresses_of_person(number)
    assert entry.address == BERNARD and entry.structure is not None
    assert "identifier=urn:oid:1.2.250.1.71.4.2.1|810100000032," in w.simulator.asked[0]


async def test_the_mailboxes_of_a_structure(w: World) -> None:
    found = await w.directory.addresses_of_organisation(HOSPITAL)
    assert addresses(found) == [SECRETARIAT, GATEWAY]
    assert [e.type for e in found] == [MailboxType.ORGANISATIONAL, MailboxType.APPLICATION]
    assert w.simulator.asked[0].startswith(
        f"Organization?identifier=https://finess.esante.gouv.fr|{HOSPITAL}"
    )


async def test_a_mailbox_of_the_red_list_is_not_listed(w: World) -> None:
    assert await w.directory.addresses_of_person("10100000057") == ()
    assert await w.directory.owner_of(RED) is not None


async def test_a_server_that_ignores_a_parameter_gives_no_wrong_owner(tmp_path: Path) -> None:
    """Whoever comes back, only the address that was asked about counts."""
    async with world(tmp_path) as w:
        bundle = (
            b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Practitioner","id":"1","name":'
            b'{"family":"AUTRE"},"identifier":{"system":"https://rpps.esante.gouv.fr","value":"10100000099"},"telecom":'
            b'[{"system":"email","value":"autre@x.mssante.fr","extension":[{"url":"x/as-ext-mailbox-mss-metadata"}]}]}}]}'
        )
        w.simulator.faults.append(Fault(body=bundle))
        assert await w.directory.owner_of(MARTIN) is None
        assert await w.directory.addresses_of_person("10100000024") == ()


async def test_several_owners_are_none(tmp_path: Path) -> None:
    shared = [mailbox(MARTIN, "PER")]
    people = [practitioner(f"p{n}", f"1010000002{n}", f"NOM{n}", "A", shared) for n in (1, 2)]
    async with world(tmp_path, resources=people) as w:
        assert await w.directory.owner_of(MARTIN) is None


# --- patients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        PATIENT,
        PATIENT.upper(),
        f"{build.PATIENT.ins}@sub.patient.mssante.fr",
        f"{build.PATIENT.ins}@patient.mssante.fx",
        f"{build.PATIENT.ins}@autre.mssante.fr",
        f"m.{build.PATIENT.ins[:13]}@autre.mssante.fr",
        "camille.durand@patient.mssante.fr",
        "1841A75123987@autre.mssante.fr@x",
        "no address",
        "",
    ],
)
async def test_a_patients_address_is_never_looked_up(w: World, address: str) -> None:
    """No patient data is ever sent: neither asked by hand nor in a mail."""
    assert not may_be_asked(address)
    with pytest.raises(NotToBeAsked) as caught:
        await w.directory.owner_of(address)
    assert build.PATIENT.ins not in str(caught.value)
    parties = Parties(Mailbox(address), (Mailbox(address),), (address,))
    assert await enrich(parties, w.directory) == parties
    assert w.simulator.asked == []


@pytest.mark.parametrize("address", [MARTIN, "12345@x.mssante.fr", "service.75@patients.mssante.fr"])
def test_a_professionals_address_may_be_asked(address: str) -> None:
    assert may_be_asked(address)


@pytest.mark.parametrize(
    "number", ["", "1010000002", "1010000002x", "910100000024", "١٠١٠٠٠٠٠٠٢٤", PATIENT[:15]]
)
async def test_an_identifier_that_is_none_is_not_asked(w: World, number: str) -> None:
    with pytest.raises(NotToBeAsked):
        await w.directory.addresses_of_person(number)
    with pytest.raises(NotToBeAsked):
        await w.directory.addresses_of_organisation(number)
    assert w.simulator.asked == []


# --- pages ------------------------------------------------------------------------------------------------------


def _many(count: int) -> list[dict[str, object]]:
    boxes = [mailbox(f"service{n}@test-hopital.mssante.fr", "ORG") for n in range(count)]
    return [organisation(f"o{n}", "HOPITAL", finess=HOSPITAL, telecom=[box]) for n, box in enumerate(boxes)]


async def test_all_pages_are_read(tmp_path: Path) -> None:
    async with world(tmp_path, resources=_many(7), page_size=3) as w:
        assert len(await w.directory.addresses_of_organisation(HOSPITAL)) == 7
        assert len(w.simulator.asked) == 3


async def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    async with world(tmp_path, resources=_many(9), page_size=2, max_results=4) as w:
        assert len(await w.directory.addresses_of_organisation(HOSPITAL)) == 4
        assert len(w.simulator.asked) == 2


async def test_an_owner_among_more_than_the_limit_is_none(tmp_path: Path) -> None:
    """One of those that were not read may have the mailbox too."""
    same = [practitioner(f"p{n}", "10100000024", "MARTIN", "A", [mailbox(MARTIN, "PER")]) for n in range(5)]
    async with world(tmp_path, resources=same, page_size=2, max_results=4) as w:
        assert await w.directory.owner_of(MARTIN) is None


async def test_a_next_page_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """The key must not go to another origin."""
    other = create(tmp_path / "other", resources=_many(4))
    await other.start()
    here = create(tmp_path / "here", resources=_many(4), page_size=2, next_base=other.address())
    await here.start()
    directory = Directory(settings_of(here, tmp_path))
    try:
        assert len(await directory.addresses_of_organisation(HOSPITAL)) == 2
        assert other.asked == []
    finally:
        await directory.close()
        await here.stop()
        await other.stop()


async def test_a_redirect_is_not_followed(w: World) -> None:
    w.simulator.faults.append(Fault(status=302))
    with pytest.raises(DirectoryUnavailable, match="answered 302"):
        await w.directory.owner_of(MARTIN)


# --- key and TLS ------------------------------------------------------------------------------------------------


async def test_a_wrong_key_is_told_and_not_tried_again(w: World) -> None:
    key = Path(str(w.settings.api_key_file))
    good = key.read_text()
    key.write_text("another-key\n")
    with pytest.raises(DirectoryUnavailable, match="answered 401: the API key is refused"):
        await w.directory.addresses_of_organisation(HOSPITAL)
    assert len(w.simulator.asked) == 1
    key.write_text(good)
    assert await w.directory.addresses_of_organisation(HOSPITAL)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"two words", b"k" * 600])
async def test_a_key_file_that_cannot_be_used(w: World, content: bytes | None) -> None:
    key = Path(str(w.settings.api_key_file))
    key.unlink()
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(DirectoryUnavailable, match="the API key cannot be read"):
        await w.directory.owner_of(MARTIN)
    assert w.simulator.asked == []


async def test_only_the_authority_of_the_settings_is_trusted(tmp_path: Path) -> None:
    good, other = Authority(tmp_path / "good"), Authority(tmp_path / "other")
    certificate, key = good.issue("localhost")
    simulator = create(tmp_path / "s", certificate=certificate, key=key)
    await simulator.start()
    url = f"https://localhost:{simulator.port}/fhir/v2"
    trusting = Directory(settings_of(simulator, tmp_path, base_url=url, ca_bundle=str(good.ca), cache=""))
    wary = Directory(settings_of(simulator, tmp_path, base_url=url, ca_bundle=str(other.ca), cache=""))
    try:
        assert await trusting.owner_of(MARTIN) is not None
        with pytest.raises(DirectoryUnavailable, match="ConnectError"):
            await wary.owner_of(MARTIN)
    finally:
        await trusting.close()
        await wary.close()
        await simulator.stop()


def test_an_authority_that_cannot_be_read_is_a_configuration_fault(tmp_path: Path) -> None:
    simulator = create(tmp_path / "s", port=8027)
    with pytest.raises(ConfigurationFault, match="ca_bundle"):
        Directory(settings_of(simulator, tmp_path, ca_bundle=str(tmp_path / "none.pem")))


def test_no_backend_no_directory() -> None:
    from connectors.mss.directory.settings import DirectorySettings

    assert client.create(DirectorySettings()) is None


# --- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault(status=500, times=1), Fault(broken=True, times=1)])
async def test_one_fault_is_tried_again(w: World, fault: Fault) -> None:
    w.simulator.faults.append(fault)
    assert await w.directory.addresses_of_organisation(HOSPITAL)
    assert len(w.simulator.asked) == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(status=500), "answered 500"),
        (Fault(status=400), "answered 400"),
        (Fault(broken=True), "no Bundle"),
        (Fault(body=b"[" * 100_000), "no Bundle"),
        (Fault(body=b'{"resourceType":"OperationOutcome"}'), "no Bundle"),
        (Fault(body=b" " * (searching.MAX_BYTES + 1)), "more than 4000000 bytes"),
        (Fault(seconds=0.6), "ReadTimeout"),
    ],
)
async def test_a_fault_that_lasts_is_unavailable(tmp_path: Path, fault: Fault, cause: str) -> None:
    async with world(tmp_path, read_timeout=0.2) as w:
        w.simulator.faults.append(fault)
        with pytest.raises(DirectoryUnavailable, match=cause):
            await w.directory.addresses_of_organisation(HOSPITAL)


async def test_a_look_up_has_its_time(tmp_path: Path) -> None:
    async with world(tmp_path, total_timeout=0.3) as w:
        w.simulator.faults.append(Fault(seconds=2))
        started = time.monotonic()
        with pytest.raises(DirectoryUnavailable, match="late"):
            await w.directory.owner_of(MARTIN)
        assert time.monotonic() - started < 1.5


async def test_a_short_retry_after_is_obeyed(w: World) -> None:
    """RFC 9110 §10.2.3."""
    w.simulator.faults.append(Fault(status=429, retry_after="1", times=1))
    started = time.monotonic()
    assert await w.directory.addresses_of_organisation(HOSPITAL)
    assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize("after", ["120", "Fri, 31 Dec 2199 23:59:59 GMT"])
async def test_a_long_retry_after_holds_the_directory_off(w: World, after: str) -> None:
    w.simulator.faults.append(Fault(status=429, retry_after=after))
    with pytest.raises(DirectoryUnavailable, match="answered 429"):
        await w.directory.addresses_of_organisation(HOSPITAL)
    with pytest.raises(DirectoryUnavailable, match="left alone"):
        await w.directory.owner_of(MARTIN)
    assert len(w.simulator.asked) == 1


async def test_repeated_faults_stop_the_look_ups_then_one_tries(tmp_path: Path) -> None:
    async with world(tmp_path, faults=2, pause=0.5) as w:
        w.simulator.faults.append(Fault(status=400))
        for _ in range(2):
            with pytest.raises(DirectoryUnavailable, match="answered 400"):
                await w.directory.addresses_of_organisation(HOSPITAL)
        with pytest.raises(DirectoryUnavailable, match="left alone"):
            await w.directory.addresses_of_organisation(HOSPITAL)
        assert len(w.simulator.asked) == 2
        w.simulator.faults.clear()
        await asyncio.sleep(0.6)
        assert await w.directory.addresses_of_organisation(HOSPITAL)
        assert await w.directory.owner_of(MARTIN)


async def test_a_directory_out_of_reach(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.simulator.stop()
        with pytest.raises(DirectoryUnavailable, match="ConnectError"):
            await w.directory.owner_of(MARTIN)


# --- cache ------------------------------------------------------------------------------------------------------


async def test_an_answer_serves_across_restarts(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        first = await w.directory.owner_of(BERNARD)
    async with world(tmp_path) as w:
        assert await w.directory.owner_of(BERNARD) == first
        assert w.simulator.asked == []
    assert (tmp_path / "cache.sqlite").stat().st_mode & 0o777 == 0o600


async def test_an_old_answer_serves_while_the_directory_is_down(tmp_path: Path) -> None:
    async with world(tmp_path, lifetime=0.01) as w:
        first = await w.directory.addresses_of_organisation(HOSPITAL)
        await asyncio.sleep(0.05)
        w.simulator.faults.append(Fault(status=400))
        assert await w.directory.addresses_of_organisation(HOSPITAL) == first
        assert len(w.simulator.asked) == 2


async def test_too_old_an_answer_does_not(tmp_path: Path) -> None:
    async with world(tmp_path, lifetime=0.01, stale_lifetime=0.02) as w:
        await w.directory.addresses_of_organisation(HOSPITAL)
        await asyncio.sleep(0.05)
        w.simulator.faults.append(Fault(status=400))
        with pytest.raises(DirectoryUnavailable):
            await w.directory.addresses_of_organisation(HOSPITAL)


async def test_equal_questions_at_the_same_time_are_asked_once(w: World) -> None:
    w.simulator.faults.append(Fault(seconds=0.1))
    owners = await asyncio.gather(*(w.directory.owner_of(MARTIN) for _ in range(5)))
    assert len(set(owners)) == 1 and owners[0] is not None
    assert len(w.simulator.asked) == 3


# --- a mail -----------------------------------------------------------------------------------------------------


async def test_a_mails_parties_are_completed(w: World) -> None:
    parties = Parties(
        Mailbox(MARTIN), (Mailbox(SECRETARIAT), Mailbox(UNKNOWN), Mailbox(PATIENT)), (SECRETARIAT,)
    )
    made = await enrich(parties, w.directory)
    assert made.sender.person is not None and made.sender.person.family == "MARTIN"
    assert made.recipients[0].organisation is not None
    assert made.recipients[1:] == parties.recipients[1:] and made.reply_to == parties.reply_to
    assert not any(build.PATIENT.ins in a for a in w.simulator.asked)


async def test_without_directory_the_parties_stay(w: World) -> None:
    parties = Parties(Mailbox(MARTIN))
    assert await enrich(parties, None) is parties


@pytest.mark.parametrize("fault", [Fault(seconds=4), Fault(status=500), Fault(broken=True)])
async def test_an_outage_never_delays_a_mail_by_more_than_a_second(tmp_path: Path, fault: Fault) -> None:
    """And never stops it; the cached parties are completed all the same."""
    async with world(tmp_path) as w:
        await w.directory.owner_of(BERNARD)
        w.simulator.faults.append(fault)
        for _ in range(3):
            started = time.monotonic()
            made = await enrich(Parties(Mailbox(MARTIN), (Mailbox(BERNARD),)), w.directory)
            assert time.monotonic() - started < 1.3
            assert made.sender == Mailbox(MARTIN)
            assert made.recipients[0].person is not None


async def test_a_late_answer_serves_the_next_mail(tmp_path: Path) -> None:
    async with world(tmp_path, patience=0.2) as w:
        w.simulator.faults.append(Fault(seconds=0.5))
        assert await enrich(Parties(Mailbox(MARTIN)), w.directory) == Parties(Mailbox(MARTIN))
        await asyncio.sleep(0.8)
        made = await enrich(Parties(Mailbox(MARTIN)), w.directory)
        assert made.sender.person is not None
        assert len(w.simulator.asked) == 3


async def test_an_old_answer_serves_a_mail_that_cannot_wait(tmp_path: Path) -> None:
    async with world(tmp_path, patience=0.3, lifetime=0.01) as w:
        await w.directory.owner_of(MARTIN)
        await asyncio.sleep(0.05)
        w.simulator.faults.append(Fault(seconds=2))
        made = await enrich(Parties(Mailbox(MARTIN)), w.directory)
        assert made.sender.person is not None


async def test_a_bug_of_ours_leaves_the_parties_as_they_came(
    w: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(*_: object) -> object:
        raise RuntimeError(f"of {MARTIN}")

    monkeypatch.setattr(client, "entries_of", wrong)
    assert await enrich(Parties(Mailbox(MARTIN)), w.directory) == Parties(Mailbox(MARTIN))
    assert "RuntimeError" in caplog.text and MARTIN not in caplog.text


async def test_no_more_than_some_addresses_of_a_mail_are_asked(w: World) -> None:
    recipients = tuple(Mailbox(f"p{n}@x.mssante.fr") for n in range(60))
    await enrich(Parties(Mailbox(MARTIN), recipients), w.directory)
    await asyncio.sleep(0.2)
    assert len({a.partition("mailbox-mss:exact=")[2] for a in w.simulator.asked}) <= 40


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(broken=True), Fault(status=401), Fault(seconds=1)]
)
async def test_no_address_in_logs_or_texts(
    tmp_path: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor the key, nor an identifier."""
    caplog.set_level(logging.DEBUG, "connectors.mss.directory")
    async with world(tmp_path, read_timeout=0.2, faults=1, pause=0.1) as w:
        w.simulator.faults.append(fault)
        said = []
        for ask in (w.directory.owner_of(MARTIN), w.directory.addresses_of_person("10100000024")):
            with pytest.raises(DirectoryUnavailable) as caught:
                await ask
            said.append(f"{caught.value!r} {caught.value.__cause__!r}")
        w.simulator.faults.clear()
        await asyncio.sleep(0.15)
        await w.directory.owner_of(MARTIN)
    ours = "".join(r.getMessage() for r in caplog.records if r.name == "connectors.mss.directory")
    assert "left alone" in ours and "answers again" in ours
    for secret in ("martin", "10100000024", "cle-de-test"):
        assert secret not in (ours + "".join(said)).lower()


def test_characters_with_a_meaning_are_escaped() -> None:
    """FHIR R4 search: `\\`, `$`, `,` and `|` in a value."""
    assert client._escaped("a|b$c@d.fr") == "a\\|b\\$c@d.fr"


async def test_an_address_with_characters_of_the_search_syntax(tmp_path: Path) -> None:
    odd = "a|b$c@test-hopital.mssante.fr"
    people = [
        practitioner("p1", "10100000024", "MARTIN", "A"),
        role("r1", "p1", telecom=[mailbox(odd, "PER")]),
    ]
    async with world(tmp_path, resources=people) as w:
        owner = await w.directory.owner_of(odd)
        assert owner is not None and owner.person is not None and owner.person.rpps == "10100000024"
