"""A message that the simulated DPI received, as tests and demos look at it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.hl7.message import Message


@dataclass(frozen=True, slots=True)
class Received:
    """A message received."""

    raw: bytes
    type: str
    """MSH-9.1."""
    event: str
    """MSH-9.2: Z01, Z02, Z03, T02…"""
    control_id: str
    answered: str
    """ZAM: OBX-4, the MSH-10 of the message it is about."""
    indicator: bool | None
    """ZAM: OBX-5, Y is True."""
    address: str
    """ZAM^Z02 and Z03: the mailbox (OBX-5.4 of the second OBX)."""
    error: tuple[str, str]
    """ZAM: ERR-5 code and label, or two empty texts."""

    def in_words(self) -> str:
        """One French line without patient data (a mailbox is shown by its domain: it may hold an INS)."""
        if self.indicator is None:
            return f"{self.type}^{self.event} reçu"
        to = f", boîte …@{self.address.rpartition('@')[2]}" if self.address else ""
        said = "oui" if self.indicator else f"non ({' '.join(self.error).strip()})"
        return f"{self.type}^{self.event} sur {self.answered}{to} : accepté {said}"


def read_message(message: Message) -> Received:
    """What a DPI looks at in a message of the gateway."""
    observations = message.all("OBX") if message.type == "ZAM" else []
    error = message.first("ERR") if message.type == "ZAM" else None
    return Received(
        raw=message.raw,
        type=message.type,
        event=message.event,
        control_id=message.control_id,
        answered=observations[0].text(4) if observations else "",
        indicator=observations[0].text(5) == "Y" if observations else None,
        address=observations[1].text(5, comp=4) if len(observations) > 1 else "",
        error=(error.text(5), error.text(5, comp=2)) if error is not None else ("", ""),
    )
