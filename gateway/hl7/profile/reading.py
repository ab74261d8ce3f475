"""From a message to a transmission: every check of the profile, all findings together.

Purpose: the one entry of this package. Pure.
Guarantee: all that can be checked is checked, whatever else is wrong. `Reading.transmission` is given as
soon as the message says what to do with which document, even when findings reject it, so that the CDA
checks can add theirs to the same ACK: **only `findings.rejects` says whether it may go on.**
Source: volet Transmission v2.1 (spec/hl7-transmission.md §1), architecture §7a.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.hl7.message import Message
from gateway.hl7.profile.fields import TYPES, Profile, profile
from gateway.hl7.profile.header import check_header, check_separators, misread
from gateway.hl7.profile.identity import read_patient, read_visit
from gateway.hl7.profile.metadata import may_not_answer, read_body, read_flags
from gateway.hl7.profile.observations import read_parts, sort_observations
from gateway.hl7.profile.orders import (
    Notification,
    check_types,
    read_action,
    read_document_type,
    read_notification,
)
from gateway.hl7.profile.parties import read_parties
from gateway.hl7.profile.repetitions import check_repetitions, check_subcomponents
from gateway.hl7.profile.routing import check_routing
from gateway.hl7.profile.structure import check_structure
from gateway.hl7.transmission import Transmission
from gateway.rules import Findings, RuleBook


@dataclass(frozen=True, slots=True)
class Reading:
    """What the profile made of a message. `transmission` may be there although `findings.rejects` is true."""

    transmission: Transmission | None
    findings: Findings


def read_transmission(message: Message, book: RuleBook, table: Profile | None = None) -> Reading:
    """Read an MDM or ORU message by `table` (the gateway's own: fields.toml). `transmission` is None when type,
    event, action or document are not known.
    """
    findings = Findings(book)
    table = table or profile()
    if misread(message, book):
        # read with separators that may not be those of its author: whatever else is found would be noise
        check_separators(message, table, findings)
        return Reading(None, findings)
    known = check_header(message, table, findings)
    if message.type not in TYPES:
        # Nothing says which structure to expect: further findings would be noise.
        return Reading(None, findings)
    again = next((s for s in message.segments[1:] if s.name == "MSH"), None)
    if again is not None:
        # two messages in one frame: nothing says which segments are whose
        findings.add("SEG-REPEATED", again.place(), segment="MSH")
        return Reading(None, findings)
    check_structure(message, findings)
    check_repetitions(message, table, findings)
    check_subcomponents(message, findings)
    patient, account = read_patient(message, table, findings)
    patient_class, visit = read_visit(message, table, findings)
    document_type = read_document_type(message, table, findings)
    notification = read_notification(message, table, findings) if message.type == "MDM" else Notification()
    observations = sort_observations(message, table, findings)
    parts = read_parts(message, observations, table, findings)
    action = read_action(message, parts, table, findings)
    check_types(message, parts, notification.type_code, findings)
    flags, given = read_flags(message, observations, table, findings)
    body_ps = read_body(message, observations.metadata, "CORPSMAIL_PS", table, findings)
    body_patient = read_body(message, observations.metadata, "CORPSMAIL_PATIENT", table, findings)
    no_answer = may_not_answer(message, observations.metadata, table, findings)
    parties = read_parties(message, observations, flags, given, patient, table, findings)
    if message.first("OBX") is not None:
        check_routing(flags, given, action, parties, observations, table, findings)
    if not known or action is None or not parts:
        return Reading(None, findings)
    pv1 = message.first("PV1")
    transmission = Transmission(
        control_id=message.control_id,
        message_type=message.type,
        event=message.event,
        version=message.version,
        processing_id=message.processing_id,
        sending_application=message.sending_application,
        sending_facility=message.sending_facility,
        receiving_application=message.receiving_application,
        receiving_facility=message.receiving_facility,
        action=action,
        patient=patient,
        patient_class=patient_class,
        visit_number=visit,
        account_number=account,
        document_type=document_type,
        document_id=notification.document_id,
        replaced_id=notification.replaced_id,
        parts=parts,
        sender=parties.sender,
        recipients=parties.recipients,
        reply_to=parties.reply_to,
        flags=flags,
        body_ps=body_ps,
        body_patient=body_patient,
        patient_may_not_answer=no_answer,
        sent_at=message.msh.value(7),
        stay_kind=pv1.value(21) if pv1 else "",
        admitted_at=pv1.value(44) if pv1 else "",
        discharged_at=pv1.value(45) if pv1 else "",
    )
    return Reading(transmission, findings)
