"""The stay of the demonstration's document, as a DPI would tell it: admission and discharge. Pure.

Purpose: `make run` ends with figures on the page of indicators; they need the ADT of the stay that the document names.
Guarantee: PAM-FR A01 and A03 of the patient, visit and account of that message, closed at `now`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.hl7.message import Message


def movements(document: Message, now: datetime) -> list[bytes]:
    """A01 two days before `now` (aware) and A03 at `now`; none for a message that names no stay."""
    patient, visit = document.first("PID"), document.first("PV1")
    if patient is None or visit is None or not visit.has(19):
        return []
    admitted, discharged = _ts(now - timedelta(days=2)), _ts(now)
    return [
        _adt(document, "A01", f"{document.control_id[:14]}-A01", admitted, admitted, ""),
        _adt(document, "A03", f"{document.control_id[:14]}-A03", discharged, admitted, discharged),
    ]


def _adt(document: Message, event: str, control_id: str, at: str, admitted: str, discharged: str) -> bytes:
    patient, visit = document.first("PID"), document.first("PV1")
    assert patient is not None and visit is not None
    msh = (
        f"MSH|^~\\&|{document.sending_application}|{document.sending_facility}|{document.receiving_application}"
        f"|{document.receiving_facility}|{at}||ADT^{event}^ADT_{event}|{control_id}|{document.processing_id}"
        "|2.5^FRA^2.11|||||FRA|UNICODE UTF-8"
    )
    pv1 = {2: "I", 19: visit.field(19).decode("utf-8"), 44: admitted, 45: discharged}
    return "".join(
        line + "\r"
        for line in (
            msh,
            f"EVN|{event}|{at}||||{at}",
            patient.raw.decode("utf-8"),
            "PV1|" + "|".join(pv1.get(n, "") for n in range(1, 46)),
            f"ZBE|{control_id}^{document.sending_facility}|{at}||INSERT|N||||HMS",
        )
    ).encode("utf-8")


def _ts(instant: datetime) -> str:
    return instant.strftime("%Y%m%d%H%M%S%z")
