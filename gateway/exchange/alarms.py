"""Alarms: what a person must look at although nothing was refused. Pure rules over measurements.

Purpose: one place that says when something is wrong for too long: what waits, who is silent, what ends, what fills up.
Guarantee: no clock, no journal: the same measurements give the same alarms. No patient data: destinations, senders
(`application|facility`) and names of mailboxes and settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.settings import AlarmSettings

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured at `now`. Times are seconds since the epoch."""

    now: float
    oldest: Mapping[str, float] = field(default_factory=dict)
    """Destination → when its oldest open delivery that is not on hold was made."""
    last_message: Mapping[str, float] = field(default_factory=dict)
    """Sender → when its last message came; of one that has sent none, when this process began to look."""
    certificates: Mapping[str, float] = field(default_factory=dict)
    """`destination setting` → end of validity."""
    disk_free: int | None = None
    """Bytes free where the journal stands; None: it stands elsewhere."""
    mailboxes: Mapping[str, str] = field(default_factory=dict)
    """Mailboxes that are away → French sentence."""


def alarms(m: Measurements, settings: AlarmSettings) -> dict[str, str]:
    """Name → French sentence of each alarm that holds now."""
    found: dict[str, str] = {}
    for destination, since in sorted(m.oldest.items()):
        limit = settings.oldest_of.get(destination, settings.oldest)
        if limit and m.now - since > limit:
            found[f"oldest_{destination}"] = (
                f"Des envois vers « {destination} » attendent depuis plus de {_lasting(limit)}."
            )
    for sender, limit in sorted(settings.silence.items()):
        if m.now - m.last_message.get(sender, m.now) > limit:
            found[f"silence_{sender}"] = f"Aucun message de « {sender} » depuis plus de {_lasting(limit)}."
    for name, end in sorted(m.certificates.items()):
        if end - m.now < settings.certificate_days * DAY:
            day = datetime.fromtimestamp(end, UTC).strftime("%d/%m/%Y")
            word = "a expiré" if end <= m.now else "expire"
            found[f"certificate_{name.replace(' ', '_')}"] = f"Le certificat « {name} » {word} le {day}."
    if m.disk_free is not None and m.disk_free < settings.disk_free_bytes:
        megabytes = settings.disk_free_bytes // 1_000_000
        found["disk"] = f"Il reste moins de {megabytes} Mo sur le disque du journal."
    return found | dict(m.mailboxes)


def _lasting(seconds: float) -> str:
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
