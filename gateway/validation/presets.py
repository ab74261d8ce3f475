"""The validators of a running gateway: one for each preset of severities.

Purpose: what `/valider` and `POST /api/v1/validate` answer by. The gateway's own preset asks its connectors and its
register too; the others check message and document alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from connectors.port import Connector
from gateway.cda.document import Document
from gateway.errors import Finding
from gateway.exchange.accept import check_register
from gateway.exchange.checking import Checker, Layer
from gateway.hl7.transmission import Transmission
from gateway.journal.store import Journal
from gateway.rules import Preset, RuleBook
from gateway.settings import Settings
from gateway.validation.validator import Validator


def validators_of(
    settings: Settings,
    book: RuleBook,
    checker: Checker,
    connectors: Mapping[str, Connector],
    journal: Journal,
) -> dict[Preset, Validator]:
    """By preset."""

    async def versions(transmission: Transmission, documents: Sequence[Document]) -> list[Finding]:
        return await journal.read(lambda s: check_register(s, transmission, documents, book, settings))

    limit = settings.listener.max_message_bytes
    own = Validator(checker, limit, connectors, versions, settings.ack.deadline)
    validators: dict[Preset, Validator] = {settings.conformance: own}
    for preset in get_args(Preset):
        if preset not in validators:
            other = checker.with_book(RuleBook(book.rules.values(), preset, settings.severity))
            validators[preset] = Validator(other, limit, unasked=Layer.NOT_RUN)
    return validators
