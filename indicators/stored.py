"""Figures as they are kept: rows and quality in a few kilobytes, and a sum that is the same for the same figures.

Purpose: `Result` of one establishment and month ↔ bytes; explanations too. Pure.
Guarantee: what is read is what was written; the sum looks at figures alone, not at when, by which revision or up to
which facts they were computed.
Fails: `GatewayBug` for bytes that are not ours.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import msgspec

from gateway.errors import GatewayBug
from indicators.engine import Quality, Row
from indicators.explain import Explanation
from indicators.published import Change

_OUTSIDE = ("finess", "as_of", "cutoff", "revision", "rule_version")
"""The same for all rows of a month: kept once, beside."""
_KEPT = tuple(f.name for f in fields(Row) if f.name not in _OUTSIDE)


def pack(rows: Iterable[Row], quality: Quality) -> bytes:
    """Rows and quality of one establishment and month."""
    told = {
        "columns": _KEPT,
        "rows": [[getattr(row, name) for name in _KEPT] for row in rows],
        "quality": quality,
    }
    return zlib.compress(msgspec.json.encode(told), 6)


def unpack(
    content: bytes, finess: str, cutoff: str, revision: int, rule_version: str, as_of: str | None = None
) -> tuple[list[Row], Quality]:
    """Back again."""
    try:
        told = msgspec.json.decode(zlib.decompress(content))
        # by name: a row that was kept before a column was added has not that column
        known = [(n, c) for n, c in enumerate(told["columns"]) if c in _KEPT]
        blank: dict[str, Any] = dict.fromkeys(_KEPT) | {"details": {}}
        rows = [
            Row(
                finess=finess,
                as_of=as_of,
                cutoff=cutoff,
                revision=revision,
                rule_version=rule_version,
                **(blank | {c: values[n] for n, c in known}),
            )
            for values in told["rows"]
        ]
        return rows, msgspec.convert(told["quality"], Quality)
    except (zlib.error, msgspec.MsgspecError, KeyError, TypeError, IndexError) as e:
        raise GatewayBug(f"stored figures cannot be read ({type(e).__name__})") from None


def pack_quality(quality: Quality) -> str:
    """What to look at beside the figures, as it is kept apart from them."""
    return msgspec.json.encode(quality).decode()


def unpack_quality(text: str) -> Quality:
    """Back again."""
    try:
        return msgspec.json.decode(text, type=Quality)
    except msgspec.MsgspecError as e:
        raise GatewayBug(f"what is kept beside figures cannot be read ({type(e).__name__})") from None


def quality_of(content: bytes) -> Quality:
    """The quality alone of what `pack` made."""
    try:
        return msgspec.convert(msgspec.json.decode(zlib.decompress(content))["quality"], Quality)
    except (zlib.error, msgspec.MsgspecError, KeyError, TypeError) as e:
        raise GatewayBug(f"stored figures cannot be read ({type(e).__name__})") from None


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 of the figures."""
    told = [
        [*row.cell, row.numerator, row.denominator, row.documents, row.reason or "", row.details]
        for row in rows
    ]
    text = json.dumps(sorted(told, key=lambda row: row[:8]), ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def pack_changes(changes: list[Change]) -> str:
    """What is not as in the revision before."""
    return msgspec.json.encode(changes).decode()


def unpack_changes(text: str) -> list[Change]:
    """Back again."""
    return msgspec.json.decode(text, type=list[Change])


def pack_explanation(explanation: Explanation) -> bytes:
    """A list, for the wire."""
    return msgspec.json.encode(explanation)


def unpack_explanation(content: bytes) -> Explanation:
    """Back again."""
    return msgspec.json.decode(content, type=Explanation)
