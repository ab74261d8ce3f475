"""PRT: sender, recipients and reply addresses.

Purpose: read the PRT that follow the documents, and check that each can be used as it is asked to be. Pure.
Guarantee: an address that a mail server could misread (blanks, controls, several @) always rejects; the
same address is kept once, so that nobody is sent the same document twice; a patient's address that is not
the patient's own is a finding (PATIENT-ADDRESS-*). No address enters a finding.
Source: volet Transmission v2.1, PRT (spec/hl7-transmission.md §1); spec/mssante.md §1.1, §1.4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.fields import Profile, listed
from gateway.hl7.profile.identity import authority
from gateway.hl7.profile.observations import Observations
from gateway.hl7.transmission import INS_OIDS, Flags, Organisation, Party, Patient, Person
from gateway.rules import Findings

# What can never break out of an SMTP command or a header; the finer syntax is a rule of its own.
_SAFE = re.compile(r"[^\s<>,;:\"()\[\]\\@\x00-\x20\x7f-\uffff]+@[A-Za-z0-9.-]+")
_ADDRESS = re.compile(
    r"(?=.{1,254}\Z)(?=[^@]{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)


@dataclass(frozen=True, slots=True)
class Parties:
    """What the PRT of a message say."""

    sender: Party | None
    recipients: tuple[Party, ...]
    reply_to: tuple[str, ...]


def read_parties(
    message: Message,
    observations: Observations,
    flags: Flags,
    given: frozenset[str],
    patient: Patient,
    profile: Profile,
    findings: Findings,
) -> Parties:
    """The parties of every document (their union) and of misplaced PRT. `given`: codes of the flags that the
    message gives; what follows from a missing one is not reported.
    """
    reader = _Reader(message, flags, given, patient, profile, findings)
    for group in observations.documents:
        reader.read(group.parties, document=group.obx.index)
    reader.read(observations.loose, document=-1)
    if flags.dest_dmp:
        reader.check_sender(observations)
    return Parties(reader.sender, tuple(reader.recipients), tuple(reader.reply_to.values()))


MAX_RECIPIENTS = 100
"""Mailboxes of one message: each is a mail that is prepared before the ACK."""


class _Reader:
    def __init__(
        self,
        message: Message,
        flags: Flags,
        given: frozenset[str],
        patient: Patient,
        profile: Profile,
        findings: Findings,
    ) -> None:
        self.message = message
        self.flags = flags
        self.given = given
        self.profile = profile
        self.patient = patient
        self.findings = findings
        self.sender: Party | None = None
        self.sender_prt: Segment | None = None
        self.recipients: list[Party] = []
        self.reply_to: dict[str, str] = {}
        """By address in lower case."""
        self.patient_checked = False
        self._seen: dict[str, int] = {}

    def read(self, segments: Sequence[Segment], document: int) -> None:
        for prt in segments:
            self._check("PRT", prt)
            self._check_blanks(prt)
            role = prt.value(4).upper()
            if role == "SB":
                self._sender(prt)
            elif role == "RCT":
                self._recipient(prt, document)
            elif role == "REPLY":
                self._reply(prt)

    def check_sender(self, observations: Observations) -> None:
        """What the DMP asks of the sender."""
        if self.sender is None:
            # a PRT that is refused for its role may be the sender: it has been told
            if observations.documents and not self._refused("PRT4-ROLE"):
                self.findings.add("SB-REQUIRED", observations.documents[0].obx.place())
            return
        organisation = self.sender.organisation
        prt = self.sender_prt
        if prt is None:
            return
        if self.sender.person is None and not self.sender.device:
            self.findings.add(
                "SB-INCOMPLETE", prt.place(5), expected="une personne (PRT-5) ou un dispositif (PRT-10)"
            )
        if organisation is None or not organisation.number:
            place = prt.place(8, 1, 10) if prt.has(8) else prt.place(8)
            self.findings.add("SB-INCOMPLETE", place, expected="l'identifiant de sa structure (PRT-8.10)")

    def _refused(self, rule: str) -> bool:
        """True when `rule` already rejects the message: only then may it stand for what follows from it."""
        return any(f.rule == rule and f.rejects for f in self.findings)

    def _check(self, kind: str, prt: Segment) -> None:
        self.profile.check(kind, prt, self.message, self.findings)

    def _check_blanks(self, prt: Segment) -> None:
        """Blanks after a value, or inside the name of an authority: one finding for each field."""
        if b" " not in (raw := prt.raw):
            return
        if not _TRAILING_BLANK.search(raw) and not _BLANK_AUTHORITY.search(raw):
            return
        for field in range(1, prt.field_count + 1):
            blank = self._first_blank(prt, field)
            if blank is not None:
                self.findings.add("PRT-BLANKS", prt.place(field, *blank))

    def _first_blank(self, prt: Segment, field: int) -> tuple[int, ...] | None:
        """(repetition, component) of the first blank that should not be there; () for a field of one value."""
        for rep, components in enumerate(prt.parts(field) or (), 1):
            for number, content in enumerate(components, 1):
                inside = number == _AUTHORITY_AT.get(field) and " " in prt.value(field, rep, number)
                if inside or _TRAILING_BLANK.search(content):
                    return (rep, number) if len(components) > 1 or rep > 1 else ()
        return None

    def _sender(self, prt: Segment) -> None:
        self._check("PRT SB", prt)
        party = read_party(prt)
        if self.sender is None:
            self.sender, self.sender_prt = party, prt
        elif replace(party, place=self.sender.place) != self.sender:
            self.findings.add("SB-REPEATED", prt.place())

    def _recipient(self, prt: Segment, document: int) -> None:
        self._check("PRT RCT", prt)
        self._check_addresses(prt)
        party = read_party(prt)
        asked = self.flags.dest_mssante_ps or self.flags.dest_mssante_pat
        if party.address is None:
            # without an address nothing says which of the two destinations it is for
            if asked:
                self.findings.add("RCT-ADDRESS", prt.place(15, 1, 4) if prt.has(15) else prt.place(15))
            elif self.given.issuperset(("DESTMSSANTEPS", "DESTMSSANTEPAT")):
                self.findings.add("RCT-UNUSED", prt.place())
            return
        key = party.address.lower()
        if key in self._seen:
            # After another document the repetition is the way to say "to the same recipient".
            if self._seen[key] == document:
                self.findings.add("RCT-REPEATED", prt.place(15, address_repetition(prt), 4))
            return
        if len(self.recipients) >= MAX_RECIPIENTS:
            if not self._refused("RCT-TOO-MANY"):
                self.findings.add("RCT-TOO-MANY", prt.place(), expected=MAX_RECIPIENTS)
            return
        self._seen[key] = document
        self._check_address(prt, party.address, "RCT")
        self.recipients.append(party)
        used = self.flags.dest_mssante_pat if party.is_patient else self.flags.dest_mssante_ps
        if not used:
            if ("DESTMSSANTEPAT" if party.is_patient else "DESTMSSANTEPS") in self.given:
                self.findings.add("RCT-UNUSED", prt.place())
        elif party.is_patient:
            self._check_patient_address(prt, party.address)
        person = party.person
        if not party.is_patient and person and (person.id_type == "INS" or person.authority in INS_OIDS):
            self.findings.add("PATIENT-ADDRESS-DOMAIN", prt.place(15, address_repetition(prt), 4))

    def _reply(self, prt: Segment) -> None:
        self._check_addresses(prt)
        address = prt.value(15, address_repetition(prt), 4)
        if not address:
            self.findings.add("REPLY-ADDRESS", prt.place(15, 1, 4) if prt.has(15) else prt.place(15))
            return
        self._check_address(prt, address, "REPLY")
        self.reply_to.setdefault(address.lower(), address)

    def _check_addresses(self, prt: Segment) -> None:
        """One PRT is one recipient: of several repetitions of PRT-15 only one may be a MSSanté address."""
        count = prt.repetitions(15)
        rep = address_repetition(prt)
        if prt.value(15, rep, 4, 2):
            self.findings.add("RCT-SEVERAL-ADDRESSES", prt.place(15, rep, 4))
        if count < 2:
            return
        repetitions = range(1, min(count, _MAX_ADDRESSES) + 1)
        addresses = [(prt.value(15, r, 3).upper(), r) for r in repetitions if prt.value(15, r, 4)]
        usable = [r for kind, r in addresses if kind == "X.400"] or [r for _, r in addresses]
        if len(usable) > 1 or count > _MAX_ADDRESSES:
            self.findings.add("RCT-SEVERAL-ADDRESSES", prt.place(15, usable[1] if len(usable) > 1 else None))
        else:
            self.findings.add("FIELD-REPETITION-IGNORED", prt.place(15, 2), field="PRT-15")

    def _check_address(self, prt: Segment, address: str, role: str) -> None:
        rep = address_repetition(prt)
        if not _SAFE.fullmatch(address):
            self.findings.add("ADDRESS-UNSAFE", prt.place(15, rep, 4))
        elif not _ADDRESS.fullmatch(address):
            self.findings.add("ADDRESS-SYNTAX", prt.place(15, rep, 4))
        allowed = self.profile.codes(f"PRT-15.3 {role}")
        if prt.value(15, rep, 3).upper() not in allowed:
            self.findings.add("PRT15-TYPE", prt.place(15, rep, 3), field="PRT-15.3", expected=listed(allowed))

    def _check_patient_address(self, prt: Segment, address: str) -> None:
        """The mailbox must be the one of the patient of PID-3, and that identity must be qualified."""
        ins = self.patient.ins
        if ins is not None and address.split("@")[0].upper() != ins.value.upper():
            self.findings.add("PATIENT-ADDRESS-INS", prt.place(15, address_repetition(prt), 4))
        # these are about the patient: told once, whatever the number of addresses, and not without a PID
        pid = self.message.first("PID")
        if pid is None or self.patient_checked:
            return
        self.patient_checked = True
        # an identifier that is refused may be the INS: it has been told
        if ins is None and pid.has(3) and not self._refused("PID3-INCOMPLETE"):
            self.findings.add("PATIENT-ADDRESS-NO-INS", pid.place(3))
        if self.patient.identity_status != "VALI":
            self.findings.add("PATIENT-ADDRESS-UNQUALIFIED", pid.place(32))


_TRAILING_BLANK = re.compile(rb" (?:[|^&~]|\Z)")
_MAX_ADDRESSES = 50
"""Repetitions of PRT-15 that are looked at."""
_BLANK_AUTHORITY = re.compile(rb"[^ |^&~] [^ |^&~]*&")
_AUTHORITY_AT = {5: 9, 8: 6}
"""Field of a PRT → the component that names an assigning authority."""


def address_repetition(prt: Segment) -> int:
    """The repetition of PRT-15 that holds the MSSanté address: the first of type X.400, else the first with an
    address.
    """
    count = prt.repetitions(15)
    if count < 2:
        return 1
    addresses = [r for r in range(1, min(count, _MAX_ADDRESSES) + 1) if prt.value(15, r, 4)]
    return next(
        (r for r in addresses if prt.value(15, r, 3).upper() == "X.400"), addresses[0] if addresses else 1
    )


def read_party(prt: Segment) -> Party:
    """One PRT as sent (blanks around values apart)."""
    person = organisation = None
    if prt.value(5) or prt.value(5, comp=2):
        person = Person(
            id=prt.value(5),
            family=prt.value(5, comp=2),
            given=prt.value(5, comp=3),
            authority=authority(prt, 5, 1, 9)[0],
            id_type=prt.value(5, comp=13),
        )
    if prt.value(8) or prt.value(8, comp=10):
        organisation = Organisation(
            name=prt.value(8),
            authority=authority(prt, 8, 1, 6)[0],
            id_type=prt.value(8, comp=7),
            number=prt.value(8, comp=10),
        )
    address = prt.value(15, address_repetition(prt), 4)
    return Party(prt.place(), person, organisation, prt.value(10) or None, address or None)
