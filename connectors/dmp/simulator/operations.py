"""What the simulated DMP offers: each call's WS-Addressing action, address and answer's action.

Purpose: one table that receiving, answering, rights, faults and events share. Written from the WSDL, not taken from the
connector: the simulator is its oracle. Pure.
Source: spec/dmp.md §1.2, §1.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Name = Literal["submit", "query", "retrieve", "update", "exist"]

GET_DOCUMENTS: Final = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call. `words` is how the history names it (French)."""

    name: Name
    action: str
    response: str
    routes: tuple[str, ...]
    words: str


OPERATIONS: Final = (
    Operation(
        "submit",
        "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b",
        "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-bResponse",
        ("repository",),
        "alimentation",
    ),
    Operation(
        "retrieve",
        "urn:ihe:iti:2007:RetrieveDocumentSet",
        "urn:ihe:iti:2007:RetrieveDocumentSetResponse",
        ("repository",),
        "consultation",
    ),
    Operation(
        "query",
        "urn:ihe:iti:2007:RegistryStoredQuery",
        "urn:ihe:iti:2007:RegistryStoredQueryResponse",
        ("registry",),
        "recherche",
    ),
    Operation(
        "update",
        "urn:ihe:iti:2010:UpdateDocumentSet",
        "urn:ihe:iti:2010:UpdateDocumentSet-Response",
        ("registry",),
        "mise à jour",
    ),
    Operation(
        "exist",
        "urn:hl7-org:v3:PRPA_IN201307UV02",
        "urn:hl7-org:v3:PRPA_IN201308UV02",
        # the sources disagree on the address (§1.2)
        ("patients", "patient"),
        "test d'existence",
    ),
)
BY_ACTION: Final = {o.action: o for o in OPERATIONS}
ROUTES: Final = tuple(sorted({route for o in OPERATIONS for route in o.routes}))
