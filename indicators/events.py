"""Events of the DPI (`POST /api/v1/events`) → facts.

Purpose: what only the DPI knows: DMP consultations, integrations, received documents, users, outpatient consultations,
accesses in an emergency. An event is the fact of that name, with `event_id` for `fact_id`, `type` for `fact`, and
the names of the events API inside `document` (`typeCode`, `codeSystem`, `uniqueId`). Pure.
Guarantee: an event is idempotent on `event_id`; members that are null are as if they were not there.
Fails: `FactError` with every fault, without values.
Source: spec/indicators.md §2.1.
"""

from __future__ import annotations

import json
from typing import Any

from indicators import facts
from indicators.facts import Fact, FactError, read

KINDS = frozenset(
    {
        "dmp_consultation",
        "dmp_integration",
        "mss_reception",
        "mss_integration",
        "break_glass",
        "user_census",
        "consultation_visit",
        "consent",
        "correspondent",
    }
)
"""Types of events. Deliveries and movements are facts that the gateway writes itself, or that are imported."""
_DOCUMENT = {"typeCode": "type_code", "codeSystem": "type_system", "uniqueId": "unique_id"}
MAX_EVENTS = 1000
"""Events of one request."""
_TOP = {"event_id": "fact_id", "type": "fact", "messageId": "message_id", "count": "users"}


def schema() -> dict[str, Any]:
    """The JSON Schema of an event, and of a list of them: that of the facts under the names of events."""
    told = facts.schema()
    kinds = {}
    for name, definition in told["$defs"].items():
        kind = definition.get("properties", {}).get("fact", {}).get("const")
        if (kind is not None and kind not in KINDS) or name in ("DocumentRef", "Movement"):
            continue
        back = _DOCUMENT if name == "SeenDocument" else {"event_id": "fact_id", "type": "fact"}
        names = {new: old for old, new in back.items()}
        made = dict(definition)
        if "properties" in made and (kind is not None or name == "SeenDocument"):
            properties = {names.get(k, k): v for k, v in made["properties"].items() if k != "known_at"}
            made["properties"] = properties
            # members that are null are as if they were not there
            made["additionalProperties"] = {"type": "null"}
            made["required"] = [names.get(k, k) for k in made.get("required", [])]
        kinds[name] = made
    events = [{"$ref": f"#/$defs/{name}"} for name, d in kinds.items() if "type" in d.get("properties", {})]
    return {
        "$schema": told["$schema"],
        "title": "Events of the DPI (POST /api/v1/events): one, or a list",
        "$defs": {**kinds, "Event": {"oneOf": events}},
        "oneOf": [
            {"$ref": "#/$defs/Event"},
            {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": {"$ref": "#/$defs/Event"}},
        ],
    }


def read_event(body: bytes | str) -> Fact:
    """One event. Raises `FactError`."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise FactError(["l'événement n'est pas un objet JSON"])
    return fact_of(told)


def fact_of(event: dict[str, Any]) -> Fact:
    """The fact of an event that was read from JSON. Raises `FactError`."""
    faults = [
        f"{new} : « {old} » attendu"
        for old, new in _TOP.items()
        if new in ("fact_id", "fact") and new in event
    ]
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        faults.append("type : nature d'événement inconnue")
    if faults:
        raise FactError(faults)
    fact = {_TOP.get(key, key): value for key, value in event.items() if value is not None}
    document = fact.get("document")
    if isinstance(document, dict):
        fact["document"] = {_DOCUMENT.get(key, key): v for key, v in document.items() if v is not None}
    return read(json.dumps(fact))
