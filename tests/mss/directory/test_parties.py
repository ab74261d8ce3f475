"""What the directory adds to the MDM, in its bytes. Source: spec/mssante.md §2.3 (PRT-5, PRT-8, PRT-10, Note 1)."""

from __future__ import annotations

import pytest

from connectors.mss.directory.model import MailboxType, Owner, Professional, Structure
from connectors.mss.directory.parties import addresses_to_ask, enriched
from connectors.mss.inbound import mdm
from connectors.mss.inbound.mdm import Mailbox, Parties, Route
from fixtures import build
from gateway.hl7.message import Message
from gateway.hl7.transmission import Organisation, Person
from tests.mss.inbound import samples
from tests.mss.inbound.test_mdm import NOW

ROUTE = Route("PFI-ESSAI", "HOPITAL-ESSAI", "DPI-ESSAI", "HOPITAL-ESSAI")
A = "a@x.mssante.fr"
MARTIN = Professional("810100000024", "MARTIN", "Dominique")
HOSPITAL = Structure("HOPITAL FICTIF DE L'ESSAI", "990000010", "FINEG", "", "1990000010")
PATIENT = f"{build.PATIENT.ins}@patient.mssante.fr"
PS = "ASIP-SANTE-PS&1.2.250.1.71.4.2.1&ISO"
PERSON = f"810100000024^MARTIN^Dominique^^^^^^{PS}^^^^RPPS"
PLACE = "HOPITAL FICTIF DE L'ESSAI^^^^^ASIP-SANTE-ST&1.2.250.1.71.4.2.2&ISO^FINEG^^^990000010"


def prt(parties: Parties) -> list[str]:
    """The PRT segments of the message that is built."""
    received = samples.receive(samples.mail())
    raw = mdm.build(received.documents[0], received.mail, ROUTE, control_id="X", now=NOW, parties=parties)
    return [s.raw.decode() for s in Message.parse(raw).all("PRT")]


def sender(owner: Owner) -> str:
    (line,) = prt(enriched(Parties(Mailbox(A)), {A: owner}))
    head, tail = "PRT||UC||SB^Send by^participation|", f"|^^X.400^{A}"
    assert line.startswith(head) and line.endswith(tail)
    return line.removeprefix(head).removesuffix(tail)


@pytest.mark.parametrize(
    ("owner", "fields"),
    [
        (Owner(MailboxType.PERSONAL, MARTIN), f"{PERSON}|||||||||"),
        (Owner(MailboxType.PERSONAL, MARTIN, HOSPITAL), f"{PERSON}|||{PLACE}||||||"),
        (Owner(None, MARTIN), f"{PERSON}|||||||||"),
        (Owner(MailboxType.ORGANISATIONAL, None, HOSPITAL), f"|||{PLACE}||||||"),
        (Owner(MailboxType.APPLICATION, None, HOSPITAL), f"|||{PLACE}||{A}||||"),
        (Owner(MailboxType.APPLICATION), f"|||||{A}||||"),
        (Owner(MailboxType.PRACTICE), "|||||||||"),
    ],
)
def test_each_type_of_mailbox(owner: Owner, fields: str) -> None:
    """§2.3: PRT-5 person, PRT-8 organisation, PRT-10.1 application, PRT-15 as it came."""
    assert sender(owner) == fields


@pytest.mark.parametrize(
    ("person", "field"),
    [
        (Professional("0123456789", "PETIT", "Alix"), f"0123456789^PETIT^Alix^^^^^^{PS}^^^^IDNPS"),
        (Professional("", "PETIT", "Alix"), "^PETIT^Alix"),
        (Professional("810100000024", "", ""), f"810100000024^^^^^^^^{PS}^^^^RPPS"),
        (
            Professional("810100000024", "A^B|C", "D&E"),
            rf"810100000024^A\S\B\F\C^D\T\E^^^^^^{PS}^^^^RPPS",
        ),
    ],
)
def test_a_person_is_what_the_directory_says(person: Professional, field: str) -> None:
    """§2.3: PRT-5.13 is there when .1 is; without an identifier there is neither authority nor type."""
    assert sender(Owner(MailboxType.PERSONAL, person)) == f"{field}|||||||||"


_AUTHORITY = "ASIP-SANTE-ST&1.2.250.1.71.4.2.2&ISO"


@pytest.mark.parametrize(
    ("place", "field"),
    [
        (Structure("H", "990000010", "FINEJ"), f"H^^^^^{_AUTHORITY}^FINEJ^^^990000010"),
        (Structure("H", "990000010"), f"H^^^^^{_AUTHORITY}^IDNST^^^1990000010"),
        (
            Structure("H", "", "", "99999999900012", "399999999900012"),
            f"H^^^^^{_AUTHORITY}^IDNST^^^399999999900012",
        ),
        (Structure("H", siret="99999999900012"), f"H^^^^^{_AUTHORITY}^SIRET^^^99999999900012"),
        (Structure("H"), "H"),
        (Structure("", "990000010", "FINEG"), f"^^^^^{_AUTHORITY}^FINEG^^^990000010"),
    ],
)
def test_a_structure_is_what_the_directory_says(place: Structure, field: str) -> None:
    """§2.3: PRT-8 .1 name, .6 authority, .7 type, .10 number."""
    assert sender(Owner(MailboxType.ORGANISATIONAL, None, place)) == f"|||{field}||||||"


def test_recipients_too_but_not_the_address_for_answers() -> None:
    """§2.3: RCT has the rules of SB; REPLY has PRT-15 alone."""
    parties = Parties(Mailbox("s@x.mssante.fr"), (Mailbox(A.upper()), Mailbox("c@x.mssante.fr")), (A,))
    assert prt(enriched(parties, {A: Owner(MailboxType.PERSONAL, MARTIN)})) == [
        "PRT||UC||SB^Send by^participation|||||||||||^^X.400^s@x.mssante.fr",
        f"PRT||UC||RCT^Result Copies To^participation|{PERSON}||||||||||^^X.400^{A.upper()}",
        "PRT||UC||RCT^Result Copies To^participation|||||||||||^^X.400^c@x.mssante.fr",
        f"PRT||UC||REPLY^Reply To^participation|||||||||||^^X.400^{A}",
    ]


@pytest.mark.parametrize(
    "known",
    [
        Mailbox(A, person=Person("1", "X", "Y", "", "EI")),
        Mailbox(A, organisation=Organisation("Service", "120456789", "UF", "3435")),
        Mailbox(A, application="LOGICIEL"),
    ],
)
def test_what_is_known_stays(known: Mailbox) -> None:
    """A table of the establishment (§2.1: a mailbox per service) knows better."""
    parties = Parties(known, (known,))
    assert addresses_to_ask(parties) == ()
    assert enriched(parties, {A: Owner(MailboxType.PERSONAL, MARTIN)}) == parties


def test_a_patients_mailbox_stays_as_it_is() -> None:
    """Even if a directory had an answer."""
    parties = Parties(Mailbox(PATIENT), (Mailbox(PATIENT),), (PATIENT,))
    assert addresses_to_ask(parties) == ()
    assert enriched(parties, {PATIENT: Owner(MailboxType.PERSONAL, MARTIN)}) == parties


def test_each_address_is_asked_once_the_senders_first() -> None:
    parties = Parties(
        Mailbox("Z@x.mssante.fr"), (Mailbox(A), Mailbox("z@x.mssante.fr"), Mailbox(A)), ("r@x.fr",)
    )
    assert addresses_to_ask(parties) == ("z@x.mssante.fr", A)
