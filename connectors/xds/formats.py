"""XCN, XON, CX and time strings of XDS metadata.

Purpose: the exact spelling of every typed value, in one place. Pure. Source: spec of the CI-SIS "Partage de
documents de santé" and the DMP samples (spec/dmp.md §3.2).
Guarantee: HL7 delimiters inside a value are escaped, so that a name cannot move the next component. Cannot
fail: `utc_time` gives "" for what is not a time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from gateway.cda.document import CdaAuthor, CdaOrganisation, CdaSigner
from gateway.hl7.transmission import INS_OIDS, InstanceId, Organisation, PatientId, Person

PS_ID = "1.2.250.1.71.4.2.1"
"""Root of PS_IdNat (RPPS, ADELI and internal identifiers of professionals)."""
STRUCTURE_ID = "1.2.250.1.71.4.2.2"
"""Root of Struct_IdNat (FINESS, SIREN, SIRET…)."""

_ESCAPES = str.maketrans({"\\": "\\E\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "|": "\\F\\"})
_TIME = re.compile(r"(\d{4,14})(?:\.\d+)?([+-]\d{4})?\Z")
_SHAPES = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


def text(value: str) -> str:
    """`value` on one line with HL7 delimiters escaped (HL7 v2 §2.7)."""
    return " ".join(value.split()).translate(_ESCAPES)


def utc_time(value: str) -> str:
    """A CDA time (`YYYYMMDDhhmmss+0100`, or shorter) as XDS wants it: UTC, no offset, same precision.

    A value without hours is kept. A value with hours and without an offset is kept as written: its zone is
    unknown and nothing is guessed. "" when it is not a time.
    """
    match = _TIME.match(value.strip())
    if match is None or len(match[1]) not in _SHAPES:
        return ""
    digits, offset = match[1], match[2]
    try:
        local = datetime.strptime(digits, _SHAPES[len(digits)])
        if offset is None or len(digits) <= 8:
            return digits
        delta = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
        zone = timezone(-delta if offset[0] == "-" else delta)
        shape = _SHAPES[12] if len(digits) == 10 and delta.seconds % 3600 else _SHAPES[len(digits)]
        return local.replace(tzinfo=zone).astimezone(UTC).strftime(shape)
    except (ValueError, OverflowError):
        return ""


def utc_now(now: datetime) -> str:
    """`now` (aware) as an XDS time."""
    return now.astimezone(UTC).strftime("%Y%m%d%H%M%S")


def cx(value: str, authority: str, kind: str) -> str:
    """`value^^^&OID&ISO^kind`."""
    return f"{text(value)}^^^&{authority}&ISO^{kind}"


def cx_of(identifier: InstanceId, kind: str) -> str:
    """CX of a CDA identifier; an identifier that is a root alone has no authority."""
    if identifier.extension:
        return cx(identifier.extension, identifier.root, kind)
    return f"{identifier.root}^^^^{kind}"


def xon(name: str, structure: str) -> str:
    """`name^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^structure`; without an identifier the name alone."""
    if not structure:
        return text(name)
    return f"{text(name)}^^^^^&{STRUCTURE_ID}&ISO^IDNST^^^{text(structure)}"


def xon_of(organisation: CdaOrganisation | None) -> str:
    """XON of a CDA organisation, its identifier chosen by root; "" when there is nothing to write."""
    if organisation is None:
        return ""
    structure = next((i.extension for i in organisation.ids if i.root == STRUCTURE_ID and i.extension), "")
    return xon(organisation.name, structure)


def xcn(identifier: str, family: str, given: str, authority: str = PS_ID) -> str:
    """XCN of a person: a professional (IDNPS), an internal identifier (EI), or a patient (NH)."""
    if authority in INS_OIDS:
        kind = "NH"
    elif authority == PS_ID and "/" not in identifier:
        kind = "IDNPS"
    else:
        kind = "EI"
    return f"{text(identifier)}^{text(family)}^{text(given)}^^^^^^&{authority}&ISO^D^^^{kind}"


def _person_id(ids: tuple[InstanceId, ...]) -> InstanceId | None:
    """The identifier of a person: PS_IdNat first, then the INS (patient author), then whatever is there.

    An author may carry several (PS_IdNat and an insurance number): chosen by root, never by position
    (Structuration minimale, author/id).
    """
    usable = [i for i in ids if i.extension]
    for wanted in (frozenset({PS_ID}), INS_OIDS):
        found = next((i for i in usable if i.root in wanted), None)
        if found is not None:
            return found
    return usable[0] if usable else None


def author_person(author: CdaAuthor) -> str:
    """authorPerson of a CDA author: a person, or a device (`…^U^^^RI`); "" when it cannot be identified."""
    chosen = _person_id(author.ids)
    if author.person is not None:
        if chosen is None or chosen.extension is None:
            return ""
        return xcn(chosen.extension, author.person.family, author.person.given, chosen.root)
    if author.device_name or author.device_model:
        root = chosen.root if chosen is not None else ""
        identifier = (chosen.extension or "") if chosen is not None else ""
        where = f"&{root}&ISO" if root else ""
        return (
            f"{text(identifier)}^{text(author.device_name)}^{text(author.device_model)}^^^^^^{where}^U^^^RI"
        )
    return ""


def signer_person(signer: CdaSigner | None) -> str:
    """legalAuthenticator of a CDA; "" when it has no identifier or no person."""
    if signer is None or signer.person is None:
        return ""
    chosen = _person_id(signer.ids)
    if chosen is None or chosen.extension is None:
        return ""
    return xcn(chosen.extension, signer.person.family, signer.person.given, chosen.root)


def struct_id_nat(organisation: Organisation) -> str:
    """Struct_IdNat of PRT-8: prefix and number.

    Prefixes: 1 FINESS, 2 SIREN, 3 SIRET. PRT-8.10 is sent with the prefix (IDNST) or bare (FINEG, FINEJ…): a
    bare nine-character FINESS gets its prefix.
    """
    number, kind = organisation.number.strip(), organisation.id_type.upper()
    if kind in {"FINEG", "FINEJ", "FINESS"} and len(number) == 9:
        return "1" + number
    if kind == "SIREN" and len(number) == 9:
        return "2" + number
    if kind == "SIRET" and len(number) == 14:
        return "3" + number
    return number


def ps_id_nat(person: Person) -> str:
    """PS_IdNat of PRT-5: a bare eleven-digit RPPS gets its prefix 8, a bare nine-character ADELI its prefix
    0.
    """
    number, kind = person.id.strip(), person.id_type.upper()
    if kind == "RPPS" and len(number) == 11:
        return "8" + number
    if kind == "ADELI" and len(number) == 9:
        return "0" + number
    return number


def patient_cx(ins: PatientId) -> str:
    """patientId of the INS of PID-3: `matricule^^^&OID&ISO^NH`."""
    return cx(ins.value, ins.authority, "NH")
