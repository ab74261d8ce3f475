"""AdtEvent: what one PAM-FR ADT message says of a patient and of a stay.

Purpose: the plain shape that `gateway.hl7.adt` reads and that the indicators fold. Pure data, no I/O.
Guarantee: identifiers and codes as sent; dates are the HL7 texts (a TS without an offset is local time of the
establishment, which only its settings know). The HL7 null (`""`) reads as absent, but in ZFA: there it takes back.
Source: PAM-FR 2.11.2; spec/indicators.md §2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.hl7.transmission import PatientId

STAY_EVENTS = (
    frozenset({"A01", "A02", "A03", "A04", "A05", "A06", "A07", "A11", "A12", "A13", "A14", "A16", "A21", "A22"})
    | frozenset({"A25", "A27", "A38", "A52", "A53", "Z99"})
)  # fmt: skip
"""Events that are movements of a stay."""
PERSON_EVENTS = frozenset({"A28", "A31"})
MERGE_EVENTS = frozenset({"A40", "A44", "A47"})
SILENT_EVENTS = frozenset({"A08", "A24", "A37", "A54", "A55", *(f"Z8{n}" for n in range(9))})
"""Events of PAM-FR that no indicator needs: taken, and nothing comes of them."""
EVENTS = STAY_EVENTS | PERSON_EVENTS | MERGE_EVENTS | SILENT_EVENTS
ACTIONS = ("INSERT", "UPDATE", "CANCEL")
FEEDING = ("NA", "IO", "INO")
CONSULTING = ("NA", "INC", "IC")


@dataclass(frozen=True, slots=True)
class AdtMovement:
    """ZBE. `id` is ZBE-1 whole, as sent; `action` is one of `ACTIONS` (INSERT when ZBE-4 cannot be read)."""

    id: str
    at: str
    """ZBE-2."""
    action: str
    historic: bool
    """ZBE-5 = Y."""
    trigger: str
    """ZBE-6: the event that a Z99 or a cancellation is about."""


@dataclass(frozen=True, slots=True)
class AdtConsent:
    """ZFA-9 to ZFA-12; "" where nothing is said."""

    feeding: str
    feeding_at: str
    consulting: str
    consulting_at: str


@dataclass(frozen=True, slots=True)
class AdtEvent:
    """One message."""

    event: str
    control_id: str
    """MSH-10: not unique in the field; the content decides what is the same."""
    processing_id: str
    sending_application: str
    sending_facility: str
    """MSH-3.1, MSH-4.1."""
    sent_at: str
    """MSH-7."""
    recorded_at: str
    """EVN-2."""
    occurred_at: str
    """EVN-6."""
    patient: tuple[PatientId, ...]
    """PID-3."""
    identity_status: str
    """PID-32."""
    account: PatientId | None
    """PID-18."""
    visit: PatientId | None
    """PV1-19."""
    patient_class: str
    """PV1-2."""
    kind: str
    """PV1-21."""
    file_closed: str
    """PV1-41: D when it was the last visit."""
    admitted_at: str
    """PV1-44."""
    discharged_at: str
    """PV1-45."""
    movement: AdtMovement | None
    consent: AdtConsent | None
    prior_patient: tuple[PatientId, ...]
    """MRG-1."""
    prior_account: PatientId | None
    """MRG-3."""
    correspondents: tuple[str, ...]
    """RPPS of the doctors of ROL (ROL-3 = ODRP)."""
    establishment: str
    """FINESS of PV1-19.4 or PID-18.4; "" when they give none."""
