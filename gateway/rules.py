"""The rule book: every check of the gateway has a named rule, its code, its severity and its French sentence.

Purpose: rules are data. Each room keeps its own table (`rules.toml` beside its code); a check asks the book
for a finding by rule id and gives the place. Presets (`production`, `interop`) and single overrides change
severities without touching code.

Guarantee: a rule marked `invariant = true` (patient safety) keeps its severity in every preset and refuses
overrides. An unknown rule id is our own bug and raises `GatewayBug`.

Fails: `ConfigurationFault` for a malformed table, a duplicate id, or overrides of unknown or invariant rules (all of
them named).

Table format (TOML), one table per rule:

    [OBX5-PADDING]
    err3 = "102"                   # table 0357
    err5 = "906"                   # table 0533, only when err3 = "207"
    production = "warn"            # reject | warn | off
    interop = "warn"               # left out: same as production
    invariant = false              # left out: false
    text = "Le base64 du document n'est pas complété (« = ») : il a été réparé."   # {words}: filled by the check
    source = "volet Transmission v2.1, OBX-5; spec/cda.md"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gateway.errors import ConfigurationFault, Finding, GatewayBug, Place, Severity

Preset = Literal["production", "interop"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of a rule table. `severity[preset]` is what the rule does under that preset."""

    id: str
    err3: str
    err5: str | None
    severity: Mapping[str, Severity]
    invariant: bool
    text: str
    source: str


class RuleBook:
    """All rules with the severities in force."""

    def __init__(
        self,
        rules: Iterable[Rule],
        preset: Preset = "production",
        overrides: Mapping[str, Severity] | None = None,
    ) -> None:
        self.preset = preset
        self.rules: dict[str, Rule] = {}
        for rule in rules:
            if rule.id in self.rules:
                raise ConfigurationFault(f"rule {rule.id} is defined twice")
            self.rules[rule.id] = rule
        self._severity = {rule.id: rule.severity[preset] for rule in self.rules.values()}
        wrong = []
        for rule_id, severity in (overrides or {}).items():
            if rule_id not in self.rules:
                wrong.append(f"no such rule, {rule_id}")
            elif self.rules[rule_id].invariant:
                wrong.append(f"rule {rule_id} is a safety invariant, it cannot be changed")
            else:
                self._severity[rule_id] = Severity(severity)
        if wrong:
            raise ConfigurationFault(f"severity: {'; '.join(wrong)}")

    def severity(self, rule_id: str) -> Severity:
        """The severity in force for `rule_id`."""
        return self._severity[rule_id]

    def finding(self, rule_id: str, place: Place | None = None, **words: object) -> Finding | None:
        """A finding for `rule_id`, or None when the rule is off.

        `words` fill the `{name}` holes of the rule's sentence; they must never hold patient data.
        """
        rule = self.rules.get(rule_id)
        if rule is None:
            raise GatewayBug(f"no such rule: {rule_id}")
        severity = self._severity[rule_id]
        if severity is Severity.OFF:
            return None
        return Finding(rule.id, severity, rule.err3, rule.err5, rule.text.format(**words), place)


def megabytes(size: int) -> str:
    """`70` or `0,5` for so many bytes: what sentences say before « Mo »."""
    return f"{size / 1_000_000:.3g}".replace(".", ",") if size < 100_000_000 else str(size // 1_000_000)


class Findings(list[Finding]):
    """A list of findings that knows its book: `add` looks the rule up and appends unless it is off."""

    def __init__(self, book: RuleBook) -> None:
        super().__init__()
        self.book = book

    def add(self, rule_id: str, place: Place | None = None, **words: object) -> None:
        """Append the finding of `rule_id` at `place` (see `RuleBook.finding`)."""
        found = self.book.finding(rule_id, place, **words)
        if found is not None:
            self.append(found)

    def add_inside(
        self, spot: tuple[str, int | None], rule_id: str, place: Place | None, **words: object
    ) -> None:
        """Like `add`; `spot` is the path and the line inside the document that stands at `place`."""
        found = self.book.finding(rule_id, place, **words)
        if found is not None:
            self.append(replace(found, path=spot[0], line=spot[1]))

    @property
    def rejects(self) -> bool:
        """True when at least one finding rejects the message."""
        return any(f.rejects for f in self)


def read_rules(path: Path) -> list[Rule]:
    """The rules of one TOML table file. Raises `ConfigurationFault` when the file is malformed."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as e:
        raise ConfigurationFault(f"rule table {path.name}: {e}") from e
    rules = []
    for rule_id, row in table.items():
        try:
            production = Severity(row["production"])
            rules.append(
                Rule(
                    id=rule_id,
                    err3=row["err3"],
                    err5=row.get("err5"),
                    severity={"production": production, "interop": Severity(row.get("interop", production))},
                    invariant=row.get("invariant", False),
                    text=row["text"],
                    source=row.get("source", ""),
                )
            )
        except (KeyError, ValueError, TypeError) as e:
            raise ConfigurationFault(f"rule table {path.name}, rule {rule_id}: {e}") from e
        if rules[-1].invariant and rules[-1].severity["interop"] != rules[-1].severity["production"]:
            raise ConfigurationFault(f"rule {rule_id} is an invariant but changes with the preset")
        if (rules[-1].err5 is not None) != (rules[-1].err3 == "207"):
            raise ConfigurationFault(f"rule {rule_id}: ERR-5 goes with 207 and only with 207")
    return rules


CORE_TABLES = (
    Path(__file__).parent / "hl7" / "profile" / "rules.toml",
    Path(__file__).parent / "hl7" / "adt_rules.toml",
    Path(__file__).parent / "cda" / "rules.toml",
    Path(__file__).parent / "cda" / "package" / "rules.toml",
    Path(__file__).parent / "exchange" / "rules.toml",
)
"""Tables of the core's rooms; connectors add their own (`Connector.rule_tables`)."""


def load_rulebook(
    tables: Iterable[Path] = (),
    preset: Preset = "production",
    overrides: Mapping[str, Severity] | None = None,
) -> RuleBook:
    """The book of the core's tables and of the connectors' `tables`."""
    rules: list[Rule] = []
    for path in (*CORE_TABLES, *tables):
        rules.extend(read_rules(path))
    return RuleBook(rules, preset, overrides)
