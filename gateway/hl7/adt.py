"""ADT: a PAM-FR message → an `AdtEvent`, with everything that is wrong with it.

Purpose: movements, identities and consents of the hospital, for the indicators. Pure.

Guarantee: all that can be checked is checked, whatever else is wrong; no value of the message enters a finding. The
event is given as soon as its type is known and a stay or a patient is named, even when findings reject it: **only
`findings.rejects` says whether it may be kept.** The official samples are read as they are, with warnings (a shifted
ZBE, a MSH-10 used twice).

Fails: never.
Source: PAM-FR 2.11.2 (ADT, ZBE, ZFA); spec/indicators.md §2; rules: adt_rules.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.hl7.adt_event import (
    ACTIONS,
    CONSULTING,
    EVENTS,
    FEEDING,
    MERGE_EVENTS,
    SILENT_EVENTS,
    STAY_EVENTS,
    AdtConsent,
    AdtEvent,
    AdtMovement,
)
from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.datatypes import is_timestamp, stands_for_none
from gateway.hl7.profile.identity import read_cx
from gateway.hl7.transmission import PatientId
from gateway.rules import Findings, RuleBook

MAX_IDENTIFIER = 200
"""Characters of an identifier or of a code that is kept."""
CLASSES = frozenset("EIORNV")
_READ = frozenset({"MSH", "EVN", "PID", "PV1", "ZBE", "ZFA", "MRG", "ROL"})
_NUMBERED = frozenset("EIO")
_FINESS = re.compile(r"\d[\dAB]\d{7}")
_TRIGGER = re.compile(r"A\d\d")
_REPETITIONS = 20


@dataclass(frozen=True, slots=True)
class AdtReading:
    """What became of a message. `event` may be there although `findings.rejects` is true."""

    event: AdtEvent | None
    findings: Findings


def read_adt(message: Message, book: RuleBook) -> AdtReading:
    """Read an ADT message. `event` is None when the type or the event is not of PAM-FR, or nobody is named."""
    findings = Findings(book)
    _check_text(message, findings)
    if message.type != "ADT":
        findings.add("ADT-TYPE", message.msh.place(9, comp=1))
        return AdtReading(None, findings)
    if message.event not in EVENTS:
        findings.add("ADT-EVENT", message.msh.place(9, comp=2))
        return AdtReading(None, findings)
    return AdtReading(_Reader(message, findings).event(), findings)


def _check_text(message: Message, findings: Findings) -> None:
    if not message.charset_known:
        findings.add("MSH18-UNREADABLE", message.msh.place(18))
    for place in message.undecodable():
        if place.segment in _READ:
            findings.add("MSG-CHARSET-BYTES", place)
    for place in message.controls():
        if place.segment in _READ:
            findings.add("MSG-CONTROL", place)


class _Reader:
    """One message of a known event."""

    def __init__(self, message: Message, findings: Findings) -> None:
        self.message, self.findings = message, findings
        self.name = message.event
        self.moves = self.name in STAY_EVENTS

    def event(self) -> AdtEvent | None:
        m = self.message
        evn, pid, pv1 = m.first("EVN"), m.first("PID"), m.first("PV1")
        zbe, zfa, mrg = m.first("ZBE"), m.first("ZFA"), m.first("MRG")
        self._required(pid, pv1, zbe, mrg)
        control_id = self._text(m.msh, 10)
        if not control_id:
            self.findings.add("ADT-CONTROL-ID", m.msh.place(10))
        sent_at = self._sent_at()
        patient = self._identifiers(pid, 3)
        account, visit = self._number(pid, 18), self._number(pv1, 19)
        movement = self._movement(zbe) if self.moves else None
        patient_class = self._class(pv1)
        self._check_stay(pv1, pid, visit, account, patient_class)
        event = AdtEvent(
            event=self.name,
            control_id=control_id,
            processing_id=m.processing_id,
            sending_application=m.sending_application,
            sending_facility=m.sending_facility,
            sent_at=sent_at,
            recorded_at=self._date(evn, 2),
            occurred_at=self._date(evn, 6),
            patient=patient,
            identity_status=self._text(pid, 32),
            account=account,
            visit=visit,
            patient_class=patient_class,
            kind=self._text(pv1, 21),
            file_closed=self._text(pv1, 41),
            admitted_at=self._date(pv1, 44),
            discharged_at=self._date(pv1, 45),
            movement=movement,
            consent=self._consent(zfa),
            prior_patient=self._identifiers(mrg, 1) if self.name in MERGE_EVENTS else (),
            prior_account=self._number(mrg, 3),
            correspondents=tuple(self._correspondents()),
            establishment=_establishment(visit, account),
        )
        self._check_merge(event, pid, mrg)
        return event if event.patient or event.visit or event.account else None

    # --- what must be there ---------------------------------------------------------------------------------------

    def _required(
        self, pid: Segment | None, pv1: Segment | None, zbe: Segment | None, mrg: Segment | None
    ) -> None:
        needed = {"PID": pid}
        if self.moves:
            needed["PV1"] = pv1
        if self.name in MERGE_EVENTS:
            needed["MRG"] = mrg
        for name, segment in needed.items():
            if segment is None:
                self.findings.add("ADT-SEGMENT", segment=name)
        if self.moves and zbe is None:
            self.findings.add("ADT-NO-ZBE")
        if pid is not None and not any(read_cx(pid, 3, rep) for rep in self._repetitions(pid, 3)):
            self.findings.add("ADT-PATIENT", pid.place(3))

    def _sent_at(self) -> str:
        sent = self.message.msh.value(7)
        if not is_timestamp(sent, 8):
            self.findings.add("ADT-SENT-AT", self.message.msh.place(7))
            return ""
        if stands_for_none(sent):
            self.findings.add("ADT-SENT-NONE", self.message.msh.place(7))
        return sent

    def _check_stay(
        self,
        pv1: Segment | None,
        pid: Segment | None,
        visit: PatientId | None,
        account: PatientId | None,
        patient_class: str,
    ) -> None:
        if not self.moves:
            return
        if visit is None and account is None:
            place = pv1.place(19) if pv1 is not None else (pid.place(18) if pid is not None else None)
            self.findings.add("ADT-STAY", place)
        elif visit is None and patient_class in _NUMBERED and pv1 is not None:
            self.findings.add("ADT-VISIT", pv1.place(19))
        if (visit or account) and not _establishment(visit, account):
            place = pv1.place(19, comp=4) if pv1 is not None and visit else None
            self.findings.add("ADT-ESTABLISHMENT", place or (pid.place(18, comp=4) if pid else None))

    def _check_merge(self, event: AdtEvent, pid: Segment | None, mrg: Segment | None) -> None:
        if self.name not in MERGE_EVENTS or mrg is None:
            return
        if not event.prior_patient and self.name != "A44":
            self.findings.add("ADT-PRIOR-PATIENT", mrg.place(1))
        if self.name == "A44" and event.account is None and event.prior_account is None:
            self.findings.add("ADT-PRIOR-ACCOUNT", mrg.place(3))
        if event.prior_patient and set(event.prior_patient) == set(event.patient) and self.name != "A44":
            self.findings.add("ADT-SAME-PATIENT", mrg.place(1))

    # --- fields ---------------------------------------------------------------------------------------------------

    def _class(self, pv1: Segment | None) -> str:
        value = self._text(pv1, 2)
        if pv1 is not None and value not in CLASSES and (value or self.moves):
            self.findings.add("ADT-CLASS", pv1.place(2))
        return value if value in CLASSES else ""

    def _movement(self, zbe: Segment | None) -> AdtMovement | None:
        if zbe is None:
            return None
        # the whole of ZBE-1: its parts are not told apart, the same text is the same movement
        identifier = "^".join(filter(None, (zbe.value(1, 1, c) for c in range(1, 5))))
        if not identifier:
            self.findings.add("ADT-MOVEMENT-ID", zbe.place(1))
        self._length(zbe, 1, identifier)
        at = zbe.value(2)
        if not is_timestamp(at, 8):
            self.findings.add("ADT-MOVEMENT-DATE", zbe.place(2))
            at = ""
        if zbe.has(3):
            self.findings.add("ADT-ZBE-3", zbe.place(3))
        action = zbe.value(4)
        if action not in ACTIONS:
            self.findings.add("ADT-ACTION", zbe.place(4))
            action = "UPDATE" if self.name == "Z99" else "INSERT"
        if zbe.has(5) and zbe.value(5) not in ("Y", "N"):
            self.findings.add("ADT-HISTORIC", zbe.place(5))
        trigger = zbe.value(6)
        known = bool(_TRIGGER.fullmatch(trigger)) and trigger in STAY_EVENTS
        if self.name == "Z99" and not known:
            self.findings.add("ADT-TRIGGER", zbe.place(6))
        return AdtMovement(identifier, at, action, zbe.value(5) == "Y", trigger if known else "")

    def _consent(self, zfa: Segment | None) -> AdtConsent | None:
        if zfa is None or self.name in SILENT_EVENTS:
            return None
        feeding, consulting = self._choice(zfa, 9, FEEDING), self._choice(zfa, 11, CONSULTING)
        if not feeding and not consulting:
            return None
        return AdtConsent(feeding, self._date(zfa, 10), consulting, self._date(zfa, 12))

    def _choice(self, zfa: Segment, field: int, among: tuple[str, ...]) -> str:
        if zfa.field(field) == b'""':
            return "NA"
        value = zfa.value(field)
        if value and value not in among:
            self.findings.add(
                "ADT-CONSENT", zfa.place(field), field=f"ZFA-{field}", expected=", ".join(among)
            )
            return ""
        return value

    def _correspondents(self) -> Iterator[str]:
        for rol in self.message.all("ROL"):
            if rol.value(3) == "ODRP":
                for rep in self._repetitions(rol, 4):
                    if rol.value(4, rep, 13) == "RPPS" and (number := rol.value(4, rep, 1)):
                        yield number[:MAX_IDENTIFIER]

    def _repetitions(self, segment: Segment, field: int) -> range:
        return range(1, min(segment.repetitions(field), _REPETITIONS) + 1)

    def _identifiers(self, segment: Segment | None, field: int) -> tuple[PatientId, ...]:
        if segment is None:
            return ()
        found = (read_cx(segment, field, rep) for rep in self._repetitions(segment, field))
        return tuple(i for i in found if i is not None and self._short(segment, field, i))

    def _number(self, segment: Segment | None, field: int) -> PatientId | None:
        found = read_cx(segment, field) if segment is not None else None
        return (
            found
            if found is not None and segment is not None and self._short(segment, field, found)
            else None
        )

    def _short(self, segment: Segment, field: int, identifier: PatientId) -> bool:
        texts = (identifier.value, identifier.authority, identifier.authority_name)
        return self._length(segment, field, max(texts, key=len))

    def _length(self, segment: Segment, field: int, text: str) -> bool:
        if len(text) <= MAX_IDENTIFIER:
            return True
        self.findings.add(
            "ADT-LENGTH", segment.place(field), field=f"{segment.name}-{field}", limit=MAX_IDENTIFIER
        )
        return False

    def _text(self, segment: Segment | None, field: int) -> str:
        if segment is None:
            return ""
        value = segment.value(field)
        return value if self._length(segment, field, value) else ""

    def _date(self, segment: Segment | None, field: int) -> str:
        if segment is None or not segment.has(field):
            return ""
        value = segment.value(field)
        if not is_timestamp(value, 8):
            self.findings.add("ADT-DATE", segment.place(field), field=f"{segment.name}-{field}")
            return ""
        return value


def _establishment(visit: PatientId | None, account: PatientId | None) -> str:
    """The FINESS number of an assigning authority, when it is one."""
    for identifier in (visit, account):
        for text in (identifier.authority, identifier.authority_name) if identifier else ():
            if _FINESS.fullmatch(text.upper()):
                return text.upper()
    return ""
