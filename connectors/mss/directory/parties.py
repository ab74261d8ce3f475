"""What a directory adds to the parties of a received mail: PRT-5, PRT-8 and PRT-10 of the MDM. Pure.

Guarantee: only what the directory says is written, and only where the mail says nothing; an address is never changed,
added or left out; a patient's mailbox stays as it is.
Source: spec/mssante.md §2.3 (PRT SB, RCT, Note 1); decision 23 (identifier of an applicative mailbox).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from connectors.mss.directory.model import MailboxType, Owner, Professional, Structure, may_be_asked
from connectors.mss.inbound.mdm import Mailbox, Parties
from gateway.hl7.transmission import Organisation, Person

PERSONS = "1.2.250.1.71.4.2.1"
"""ASIP-SANTE-PS."""
STRUCTURES = "1.2.250.1.71.4.2.2"
"""ASIP-SANTE-ST."""


def addresses_to_ask(parties: Parties) -> tuple[str, ...]:
    """The addresses of sender and recipients that nothing is known of and that may be asked for, each once."""
    boxes = (parties.sender, *parties.recipients)
    unknown = (b.address.lower() for b in boxes if not _known(b) and may_be_asked(b.address))
    return tuple(dict.fromkeys(unknown))


def enriched(parties: Parties, owners: Mapping[str, Owner]) -> Parties:
    """`parties` with what `owners` (by address in lower case) says of those that nothing is known of."""
    return replace(
        parties,
        sender=_with(parties.sender, owners),
        recipients=tuple(_with(box, owners) for box in parties.recipients),
    )


def _known(box: Mailbox) -> bool:
    return box.person is not None or box.organisation is not None or bool(box.application)


def _with(box: Mailbox, owners: Mapping[str, Owner]) -> Mailbox:
    owner = owners.get(box.address.lower())
    if owner is None or _known(box) or not may_be_asked(box.address):
        return box
    return replace(
        box,
        person=_person(owner.person),
        organisation=_organisation(owner.structure),
        application=box.address if owner.type is MailboxType.APPLICATION else "",
    )


def _person(person: Professional | None) -> Person | None:
    """PRT-5: .1 PS_IdNat with its authority (.9) and type (.13), .2 family, .3 given."""
    if person is None:
        return None
    if not person.national_id:
        return Person("", person.family, person.given, "", "")
    kind = "RPPS" if person.rpps else "IDNPS"
    return Person(person.national_id, person.family, person.given, PERSONS, kind)


def _organisation(structure: Structure | None) -> Organisation | None:
    """PRT-8: .1 name, then the FINESS when its kind is known, else the national identifier or the SIRET."""
    if structure is None:
        return None
    if structure.finess and structure.finess_kind:
        return Organisation(structure.name, STRUCTURES, structure.finess_kind, structure.finess)
    national = structure.national_id or (f"1{structure.finess}" if structure.finess else "")
    if national:
        return Organisation(structure.name, STRUCTURES, "IDNST", national)
    if structure.siret:
        return Organisation(structure.name, STRUCTURES, "SIRET", structure.siret)
    return Organisation(structure.name, "", "", "")
