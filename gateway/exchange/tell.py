"""Tell the DPI how a delivery ended: a ZAM, as a delivery of its own to the destination `dpi`.

Source: volet Transmission v2.1.2, business acknowledgements (spec/hl7-transmission.md §3). Sent only when
the DPI asked for it: Z01 and Z02 with ACK_RECEPTION = Y, Z03 with ACK_LECTURE_MSS = Y.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlmodel import Session

from connectors.port import Connector, Outcome, OutcomeClass, Report
from gateway.errors import GatewayBug
from gateway.exchange.identifiers import control_id
from gateway.hl7 import zam
from gateway.hl7.message import CHARSETS
from gateway.hl7.transmission import Action, Transmission
from gateway.journal import mails, queue, records
from gateway.journal.queue import Earlier, NewDelivery
from gateway.settings import Settings

DPI = "dpi"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a message, as a ZAM needs it: it becomes the receiver. Kept in `message.routing`."""

    application: str
    facility: str
    our_application: str
    our_facility: str
    processing_id: str
    charset: str
    """MSH-18 in the profile's words: `UNICODE UTF-8` or `8859/15`."""

    @classmethod
    def of(cls, transmission: Transmission, charset: str) -> Sender:
        """The sender of a transmission."""
        return cls(
            application=transmission.sending_application,
            facility=transmission.sending_facility,
            our_application=transmission.receiving_application,
            our_facility=transmission.receiving_facility,
            processing_id=transmission.processing_id,
            charset=charset,
        )

    def as_json(self) -> dict[str, str]:
        """For `message.routing`."""
        return asdict(self)

    @property
    def route(self) -> str:
        """Key of the route to this DPI: `application|facility`."""
        return f"{self.application}|{self.facility}"


def enqueue_zam(
    session: Session,
    message_id: int,
    sender: Sender,
    acknowledged: str,
    report: Report,
    settings: Settings,
    now: datetime,
) -> bool:
    """Enqueue the ZAM of `report` to the sender of the message whose MSH-10 is `acknowledged`.

    False when no DPI connector is configured: then there is nowhere to tell it.
    """
    if DPI not in settings.connectors:
        return False
    own_id = control_id()
    envelope = zam.Envelope(
        sending_application=sender.our_application,
        sending_facility=sender.our_facility,
        receiving_application=sender.application,
        receiving_facility=sender.facility,
        processing_id=sender.processing_id or "P",
        charset=sender.charset,
    )
    error = None if report.accepted else zam.ZamError(report.code, report.label)
    if report.event == "Z01":
        content = zam.build_z01(
            envelope,
            control_id=own_id,
            answered=acknowledged,
            now=now,
            occurred=now,
            error=error,
            error_table=settings.zam.dmp_error_table,
        )
    elif report.event in ("Z02", "Z03"):
        build = zam.build_z02 if report.event == "Z02" else zam.build_z03
        content = build(
            envelope,
            control_id=own_id,
            answered=acknowledged,
            now=now,
            occurred=now,
            address=report.recipient,
            recipient_id=report.recipient_id,
            error=error,
        )
    else:
        raise GatewayBug(f"no business acknowledgement of event {report.event}")
    codec = CHARSETS[sender.charset]
    plan = {"control_id": own_id, "er7": content.decode(codec), "charset": codec}
    queue.enqueue(
        session,
        NewDelivery(
            message_id=message_id,
            destination=DPI,
            recipient=sender.route,
            action=Action.SUBMIT,
            documents=(),  # of no set: none waits for another
            plan=json.dumps(plan, ensure_ascii=False).encode(),
            now=now.timestamp(),
            lifetime=settings.engine.retry.lifetime,
        ),
    )
    return True


def tell_all(session: Session, delivery_id: int, report: Report, settings: Settings, now: datetime) -> bool:
    """One ZAM for each message whose sender asked to be told of this event of the delivery; True when there is any."""
    told = [
        tell_one(session, message_id, report, settings, now)
        for message_id in queue.told(session, delivery_id)
    ]
    return any(told)


def tell_one(session: Session, message_id: int, report: Report, settings: Settings, now: datetime) -> bool:
    """The ZAM of `report` to the sender of a message, if it asked for this event."""
    answered, routing = records.routing_of(session, message_id)
    if not routing.get("ack_reading" if report.event == "Z03" else "ack_reception", False):
        return False
    return enqueue_zam(session, message_id, Sender(**routing["sender"]), answered, report, settings, now)


def tell_known(
    session: Session,
    message_id: int,
    connector: Connector,
    recipient: str,
    earlier: Earlier,
    settings: Settings,
    now: datetime,
) -> bool:
    """Tell the sender of a message what is known already of an earlier delivery that did all it asked for: what came
    back about it, else what the connector told of its end."""
    receipts = mails.receipts_of(session, earlier.id)
    reports = [r.report for r in receipts if r.told and r.report is not None]
    # of what is old the details are not kept (retention): what came back is still told, the rest is not known any more
    if earlier.plan and not any(r.event != "Z03" for r in reports):
        outcome = Outcome(OutcomeClass.SUCCESS, earlier.code, earlier.label, earlier.details)
        at_its_end = connector.report(recipient, earlier.plan, outcome)
        reports = [*([at_its_end] if at_its_end else []), *reports]
    told = [tell_one(session, message_id, report, settings, now) for report in reports]
    return any(told)
