"""The table of fields (fields.toml): what the profile says of each field, and the engine that walks it.

Purpose: usages, value sets and types are data. `Profile.check` compares a segment with its rows: what is required
is there, what has a value set holds one of its codes, what has a checked type is of it. Checks across fields are
written in code, under the rules that their row names in `code`; they take their values from here too. Pure, apart
from reading the file once.

Guarantee: one finding for one cause: an absent field is told once, whatever its components miss. No value of the
message enters a finding.

Fails: `ConfigurationFault` for a malformed table.
Source: volet Transmission v2.1 (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from gateway.errors import ConfigurationFault
from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.datatypes import is_authority, is_timestamp
from gateway.hl7.transmission import Action
from gateway.rules import Findings

PATH = Path(__file__).with_name("fields.toml")
TYPES = ("MDM", "ORU")
Usage = Literal["R", "RE", "C", "O", "X"]

_KEY = re.compile(
    r"(?P<segment>[A-Za-z0-9]+)(?:-(?P<field>\d+)(?:\.(?P<component>\d+))?)?(?: (?P<kind>\w+))?"
)
_ENGINE_RULES = ("absent", "value", "form", "blank", "repeated")
_RULES = (*_ENGINE_RULES, "single")
_ATTRIBUTES = frozenset(
    {"name", "usage", "condition", "when", "type", "digits", "values", "case", "repeats", "messages", "code"}
) | frozenset(_RULES)
_COMPOSITE = frozenset({"CE", "CWE", "CX", "ED", "EI", "HD", "XAD", "XCN", "XON", "XPN"})
"""Types that may hold something although their first component is empty."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. `rules` are the engine's, by what they say (`absent`, `value`…); `code` the others."""

    key: str
    segment: str
    kind: str
    number: int | None
    component: int | None
    name: str
    usage: Usage | None
    condition: str
    when: Mapping[str, tuple[str, ...]]
    type: str
    digits: int
    codes: Mapping[str, tuple[str, ...]]
    """Message type → codes allowed; empty when any value will do."""
    any_case: bool
    repeats: int
    messages: tuple[str, ...]
    """Message types that have the field; `""` among them: any other type too."""
    rules: Mapping[str, str]
    code: tuple[str, ...]

    @property
    def label(self) -> str:
        """`PRT-15.4`: the field as HL7 names it."""
        return self.key.partition(" ")[0]

    @property
    def every_rule(self) -> tuple[str, ...]:
        """All rules that this field can raise, each once."""
        return tuple(dict.fromkeys((*self.rules.values(), *self.code)))


@dataclass(frozen=True, slots=True)
class Metadata:
    """One metadata OBX: `flag` is its attribute of `Flags`, "" for a mail body."""

    code: str
    usage: Usage
    name: str
    flag: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Check:
    """A row made ready for one message type."""

    row: Row
    component: int
    good: frozenset[bytes]
    """Bytes that need no further look."""
    anything: bool
    """True when any value will do."""
    codes: frozenset[str] | None
    any_case: bool
    absent: str
    value: str
    form: str
    type: str
    digits: int
    blank: str
    composite: bool
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Field:
    """The rows of one field, in their order."""

    number: int
    limit: int
    repeated: str
    checks: tuple[_Check, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The table, ready to be walked."""

    rows: Mapping[str, Row]
    sets: Mapping[str, Mapping[str, str]]
    metadata: Mapping[str, Metadata]
    """In the order of the profile."""
    ranks: Mapping[str, int]
    """Metadata → its rank in that order."""
    aliases: Mapping[str, str]
    actions: Mapping[str, Mapping[str, Action]]
    """Set (`events`, `orders`, `statuses`) → code → what it asks for."""
    singles: Mapping[str, tuple[tuple[int, str], ...]]
    """Segment → fields that the profile gives once, each with the rule of a second value."""
    plans: Mapping[tuple[str, str], tuple[_Field, ...]] = field(repr=False)
    """(segment and kind, message type) → what the engine checks."""

    def codes(self, key: str, message_type: str = "MDM") -> tuple[str, ...]:
        """The codes that the table allows for a field."""
        return self.rows[key].codes.get(message_type, ())

    def check(self, kind: str, segment: Segment, message: Message, findings: Findings, **words: str) -> None:
        """Compare `segment` with the rows of `kind` (`PID`, `OBX metadata`…). `words` go into the sentences."""
        plans = self.plans.get((kind, message.type))
        for plan in self.plans[kind, ""] if plans is None else plans:
            number, last = plan.number, 1
            # a field that is long (a document) is not split: its first components are read one by one
            parts = segment.parts(number)
            if plan.limit:
                last = (segment.repetitions(number) if parts is None else len(parts)) or 1
                if last > plan.limit:
                    last = plan.limit
                    if plan.repeated:
                        place = segment.place(number, last + 1)
                        findings.add(plan.repeated, place, **words, **plan.checks[0].words)
            rep = 0
            while rep < last:
                components = parts[rep] if parts else ()
                held = len(components)
                rep += 1
                for check in plan.checks:
                    # what is right is told from its bytes; only what may be wrong is decoded
                    if parts is None:
                        piece = segment.piece(number, rep, check.component)
                    else:
                        piece = components[check.component - 1] if check.component <= held else b""
                    if piece in check.good or (check.anything and piece[:1] > b'"'):
                        continue
                    if piece and self._wrong(plan, check, segment, rep, findings, words):
                        continue
                    if check.absent and self._absent(plan, check, segment, rep, message, findings, words):
                        break

    def _wrong(
        self,
        plan: _Field,
        check: _Check,
        segment: Segment,
        rep: int,
        findings: Findings,
        words: Mapping[str, str],
    ) -> bool:
        """Tell that a value is not what the row says; False when there is no value, only blanks or the HL7 null."""
        value = segment.value(plan.number, rep, check.component)
        if not value and not (check.type == "HD" and segment.value(plan.number, rep, check.component, 2)):
            return False
        rule, sub = "", None
        if check.codes is not None:
            if (value.upper() if check.any_case else value) not in check.codes:
                rule = check.value
            elif check.blank and segment.text(plan.number, rep, check.component) != value:
                rule = check.blank
        elif check.type == "TS" and not is_timestamp(value, check.digits):
            rule = check.form
        elif check.type == "HD" and not is_authority(segment, plan.number, rep, check.component):
            rule, sub = check.form, 2
        if rule:
            findings.add(rule, _place(plan, check, segment, rep, sub), **words, **check.words)
        return True

    def _absent(
        self,
        plan: _Field,
        check: _Check,
        segment: Segment,
        rep: int,
        message: Message,
        findings: Findings,
        words: Mapping[str, str],
    ) -> bool:
        """Tell that a component is missing; True when the rest of its repetition is missing with it."""
        if not all(_holds(message, where, codes) for where, codes in check.row.when.items()):
            return False
        if not segment.has(plan.number):
            findings.add(check.absent, segment.place(plan.number), **words, **check.words)
            return True
        if check.row.component is None and check.composite:
            return False
        place = _place(plan, check, segment, rep)
        empty = plan.limit > 1 and not _repetition_holds(segment, plan.number, rep, message)
        if empty:
            # it says nothing, and another one does (the field is there): nothing is lost with it
            findings.add(
                "FIELD-EMPTY-REPETITION", segment.place(plan.number, rep), field=check.words["field"]
            )
            return True
        findings.add(check.absent, place, **words, **check.words)
        return False


def _place(plan: _Field, check: _Check, segment: Segment, rep: int, sub: int | None = None) -> Any:
    if check.row.component is None:
        return segment.place(plan.number, rep if plan.limit > 1 else None)
    return segment.place(plan.number, rep, check.component, sub)


def _holds(message: Message, where: str, codes: Sequence[str]) -> bool:
    """True when the field `where` of the message has one of `codes`."""
    found = _KEY.fullmatch(where)
    if found is None or found["field"] is None:
        return False
    segment = message.first(found["segment"])
    return (
        segment is not None and segment.value(int(found["field"]), 1, int(found["component"] or 1)) in codes
    )


def _repetition_holds(segment: Segment, number: int, rep: int, message: Message) -> bool:
    s = message.separators
    parts = segment.field(number).split(s.repetition)
    content = parts[rep - 1] if rep <= len(parts) else b""
    return content.strip(s.component + s.subcomponent + b" ") not in (b"", b'""')


# --- reading the file ---------------------------------------------------------------------------------------


@cache
def profile() -> Profile:
    """The profile of fields.toml."""
    return load(PATH)


def load(path: Path) -> Profile:
    """The profile of a table file. Raises `ConfigurationFault` when it is malformed."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        sets: dict[str, dict[str, str]] = table.pop("sets")
        metadata = {
            code: Metadata(
                code, row["usage"], row["name"], row.get("flag", ""), tuple(row.get("aliases", ()))
            )
            for code, row in table.pop("metadata").items()
        }
        rows = {key: _row(key, row, sets) for key, row in table.items()}
        actions = {
            name: {code: Action(asked) for code, asked in sets[name].items()}
            for name in ("events", "orders", "statuses")
        }
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise ConfigurationFault(f"table of fields {path.name}: {e}") from e
    kinds = dict.fromkeys(_context(r) for r in rows.values())
    return Profile(
        rows,
        sets,
        metadata,
        {code: rank for rank, code in enumerate(metadata)},
        {alias: m.code for m in metadata.values() for alias in m.aliases},
        actions,
        _singles(rows.values()),
        {(kind, t): tuple(_plan(rows.values(), kind, t)) for kind in kinds for t in (*TYPES, "")},
    )


def _singles(rows: Iterable[Row]) -> dict[str, tuple[tuple[int, str], ...]]:
    """Of several rows of one field the first one counts."""
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        if row.number is not None and "single" in row.rules:
            found.setdefault(row.segment, {}).setdefault(row.number, row.rules["single"])
    return {segment: tuple(fields.items()) for segment, fields in found.items()}


def _context(row: Row) -> str:
    return f"{row.segment} {row.kind}".rstrip()


def _row(key: str, row: Mapping[str, Any], sets: Mapping[str, Mapping[str, str]]) -> Row:
    found = _KEY.fullmatch(key)
    if found is None:
        raise ValueError(f"{key}: not the name of a field")
    unknown = set(row) - _ATTRIBUTES
    if unknown:
        raise ValueError(f"{key}: unknown {', '.join(sorted(unknown))}")
    usage = row.get("usage")
    if usage not in ("R", "RE", "C", "O", "X", None) or (found["field"] and usage is None):
        raise ValueError(f"{key}: usage {usage}")
    if "absent" in row and usage not in ("R", "C"):
        raise ValueError(f"{key}: only a required field has a rule `absent`")
    if (usage == "C") != ("condition" in row) or ("when" in row and usage != "C"):
        raise ValueError(f"{key}: a condition goes with usage C and only with it")
    when = {where: tuple(codes) for where, codes in row.get("when", {}).items()}
    if usage == "C" and "absent" in row and not (when and all("-" in where for where in when)):
        raise ValueError(f"{key}: `absent` of a C needs a `when` of fields")
    if "form" in row and row.get("type") not in ("TS", "HD"):
        raise ValueError(f"{key}: type {row.get('type')} is not checked")
    if "value" in row and "values" not in row:
        raise ValueError(f"{key}: a rule `value` needs `values`")
    return Row(
        key=key,
        segment=found["segment"],
        kind=found["kind"] or "",
        number=int(found["field"]) if found["field"] else None,
        component=int(found["component"]) if found["component"] else None,
        name=row["name"],
        usage=usage,
        condition=row.get("condition", ""),
        when=when,
        type=row.get("type", ""),
        digits=row.get("digits", 4),
        codes=_codes(row.get("values"), sets),
        any_case=row.get("case") == "ignore",
        repeats=row.get("repeats", 0),
        messages=tuple(row.get("messages", (*TYPES, ""))),
        rules={kind: row[kind] for kind in _RULES if kind in row},
        code=tuple(row.get("code", ())),
    )


def _codes(values: Any, sets: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """`values` by message type; under "" when every type has the same."""
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return {t: _codes(values[t], sets)[t] for t in TYPES}
    codes = tuple(sets[values]) if isinstance(values, str) else tuple(values)
    return dict.fromkeys((*TYPES, ""), codes)


def listed(codes: Sequence[str]) -> str:
    """`P, T ou D`."""
    return " ou ".join(filter(None, (", ".join(codes[:-1]), codes[-1]))) if codes else ""


def _plan(rows: Iterable[Row], kind: str, message_type: str) -> Iterator[_Field]:
    """What the engine has to look at, field by field; rows without a rule of its own are left out."""
    fields: dict[int, list[Row]] = {}
    for row in rows:
        if _context(row) != kind or row.number is None or not set(row.rules) - {"single"}:
            continue
        if message_type not in row.messages:
            continue
        fields.setdefault(row.number, []).append(row)
    for number, members in fields.items():
        yield _Field(
            number,
            max(r.repeats for r in members),
            next((r.rules["repeated"] for r in members if "repeated" in r.rules), ""),
            tuple(
                _ready(r, message_type)
                for r in members
                if set(r.rules) - {"repeated", "single"} or len(members) == 1
            ),
        )


def _ready(row: Row, message_type: str) -> _Check:
    expected = row.codes.get(message_type, ())
    codes = None
    if expected and "value" in row.rules:
        codes = frozenset(c.upper() if row.any_case else c for c in expected)
    spellings = {s for c in codes or () for s in ((c, c.lower(), c.title()) if row.any_case else (c,))}
    optional = set() if "absent" in row.rules else {""}
    return _Check(
        row=row,
        component=row.component or 1,
        good=frozenset(s.encode() for s in spellings | optional if s.isascii()),
        anything=codes is None and "form" not in row.rules,
        codes=codes,
        any_case=row.any_case,
        absent=row.rules.get("absent", ""),
        value=row.rules.get("value", ""),
        form=row.rules.get("form", ""),
        type=row.type,
        digits=row.digits,
        blank=row.rules.get("blank", ""),
        composite=row.type in _COMPOSITE,
        words={"field": row.label, "expected": listed(expected)},
    )
