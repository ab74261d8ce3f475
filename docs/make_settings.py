"""Write docs/settings.md from the models of the settings: `python docs/make_settings.py`. A test keeps it fresh."""

from __future__ import annotations

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from connectors.dmp.settings import DmpSettings
from connectors.dpi.settings import DpiSettings
from connectors.errors.settings import ErrorsSettings
from connectors.mss.settings import MssSettings
from gateway.hl7.profile import routing
from gateway.hl7.profile.fields import Row, profile
from gateway.rules import CORE_TABLES, Rule, read_rules
from gateway.settings import Settings

TARGET = Path(__file__).with_name("settings.md")
RULES = Path(__file__).with_name("rules.md")
HEAD = """# Settings

Generated from the code by `python docs/make_settings.py`; do not edit.

One TOML file (`segur-gateway run --config FILE`). The environment wins over the file for the gateway's own tables:
`SEGUR_` + the path in capitals, parts joined by `__`, for instance `SEGUR_LISTENER__PORT=2576` or
`SEGUR_CONFORMANCE=interop`. Relative paths start from the folder of the settings file. Secrets and keys are files.
`segur-gateway check-config --config FILE` says everything that is wrong, in one go.

`conformance = "interop"` is for tests and for the official samples. Among its tolerances is a patient's mailbox that
is not the one of the INS in PID-3: it must never run towards real mailboxes.
"""


def attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """Text after each attribute, by attribute name, base classes included."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not (isinstance(cls, type) and issubclass(cls, BaseModel)) or cls.__module__.startswith(
            "pydantic"
        ):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, after in zip(definition.body, definition.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(after.value.value).split())
    return found


def nested(annotation: Any) -> list[type[BaseModel]]:
    """Models inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in get_args(annotation) for m in nested(a)]


def choices(annotation: Any) -> list[str]:
    """Values that a Literal or an enumeration allows."""
    if get_origin(annotation) is Literal:
        return [str(a) for a in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [c for a in get_args(annotation) for c in choices(a)]


def default_of(field: Any) -> str:
    """A default as a reader writes it."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, BaseModel):
        return "see below"
    if value in (None, "", (), {}):
        return "none"
    text = str(value) if isinstance(value, int | float | Path) else repr(value).replace("'", '"')
    shown = text if len(text) <= 160 else text[:150] + "…"
    return f"`{shown}`".replace("|", "\\|")


def table(name: str, model: type[BaseModel], seen: list[str]) -> None:
    """Append the table of one model, then of the models in it."""
    docs = attribute_docs(model)
    seen.append(f"\n## `[{name}]`\n" if name else "\n## Top level\n")
    if model.__doc__:
        seen.append(" ".join(model.__doc__.split()) + "\n")
    seen.append("| key | default | meaning |\n|---|---|---|")
    below: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        inner = nested(field.annotation)
        below.extend((f"{name}.{key}".strip("."), m) for m in inner)
        allowed = choices(field.annotation)
        one_of = f" One of: {', '.join(f'`{c}`' for c in allowed)}." if allowed else ""
        meaning = docs.get(key) or (" ".join((inner[0].__doc__ or "").split()) if inner else "")
        seen.append(
            f"| `{key}` | {default_of(field)} | {(meaning.replace('|', chr(92) + '|') + one_of).strip()} |"
        )
    for path, inner_model in below:
        table(path, inner_model, seen)


def text() -> str:
    """The whole page."""
    parts = [HEAD]
    table("", Settings, parts)
    for name, model in (
        ("dmp", DmpSettings),
        ("mss", MssSettings),
        ("dpi", DpiSettings),
        ("errors", ErrorsSettings),
    ):
        table(f"connectors.{name}", model, parts)
    return "\n".join(parts) + "\n"


RULES_HEAD = """# Rules

Generated from the tables of fields and rules by `python docs/make_settings.py`; do not edit.

Every check is a named rule: its id is ERR-7 of the ACK, its sentence ERR-8. `production` and `interop` are the presets
(`conformance`); `[severity]` of the settings changes single rules (`"RULE-ID" = "warn"`), except the invariants
(patient safety). `reject` makes the answer AE; `warn` is accepted, counted (`/metrics`) and shown by sender
(`/tolerances`). ERR-3 is a code of table 0357, ERR-5 of table 0533 (only with 207). `{words}` are filled by the check.

What each mistake is answered, message by message: [errors.md](errors.md).

"""

FIELDS_HEAD = """## The message

What the profile asks of each field (`gateway/hl7/profile/fields.toml`, which the checker walks) and the rules that it
can raise. Usage: R required, RE required if known, C conditional, O optional. What the profile does not make compulsory
is never refused: `OPTIONAL-…` rules warn. Segments and fields that are not listed are not looked at.
"""

SECTIONS = {
    "message": "Whole message",
    "MSH": "MSH",
    "EVN": "EVN (MDM)",
    "PID": "PID",
    "PV1": "PV1 (optional in ORU)",
    "ORC": "ORC",
    "OBR": "OBR",
    "TXA": "TXA (MDM)",
    "OBX": "OBX: documents, metadata, mail bodies",
    "NTE": "NTE",
    "PRT": "PRT: sender (SB), recipients (RCT), address for answers (REPLY)",
    "destinations": "Destinations",
}


TABLES = {
    "hl7": "ADT (PAM-FR), for the indicators",
    "cda": "The CDA document",
    "package": "The official CDA package",
    "exchange": "The exchange",
    "dmp": "DMP",
    "mss": "MSSanté",
    "inbound": "MSSanté, received mails (MDN and error mail: ERR-5 is their code)",
}


def row_of(*cells: str) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def rules_table(rules: Iterable[Rule]) -> list[str]:
    """A table of rules."""
    lines = [
        "| rule | production | interop | ERR-3 | ERR-5 | sentence (ERR-8) | source |\n" + "|---" * 7 + "|"
    ]
    for rule in rules:
        interop = "invariant" if rule.invariant else rule.severity["interop"].value
        production = rule.severity["production"].value
        lines.append(
            row_of(f"`{rule.id}`", production, interop, rule.err3, rule.err5 or "", rule.text, rule.source)
        )
    return lines


def codes_of(row: Row) -> str:
    """The codes that a field allows."""
    by_type = {t: ", ".join(f"`{c}`" for c in row.codes[t]) for t in row.messages if t in row.codes}
    if len(set(by_type.values())) < 2:
        return next(iter(by_type.values()), "")
    return "<br>".join(f"{t}: {codes}" for t, codes in by_type.items())


def routing_lines() -> list[str]:
    """The MSSanté routing table: a column for each metadata that it rules."""
    path = Path(routing.__file__).with_name("routing.toml")
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["row"]
    codes = [code for code in rows[0] if code != "effect"]
    words = {"Y": "Y", "N": "N", "NY": "free"}
    return [
        "\nWhat may be asked when MSSanté is a destination (`gateway/hl7/profile/routing.toml`): one of these rows,"
        "\nelse `ROUTE-TABLE`, which names what differs from the nearest row. The DMP alone is not ruled by it.\n",
        row_of("goes to", *(f"`{code}`" for code in codes)) + "\n" + "|---" * (len(codes) + 1) + "|",
        *(row_of(row["effect"], *(words[row[code]] for code in codes)) for row in rows),
    ]


def fields_text(rules: Mapping[str, Rule]) -> list[str]:
    """The profile, segment by segment: its fields, then the rules that they raise first."""
    table = profile()
    parts = [FIELDS_HEAD]
    told: set[str] = set()
    for segment, title in SECTIONS.items():
        rows = [r for r in table.rows.values() if r.segment == segment]
        parts.append(f"\n### {title}")
        parts.extend(f"\n{r.name}." for r in rows if r.number is None and not r.kind)
        listed = [r for r in rows if r.number is not None or r.kind]
        if listed:
            parts.append("\n| field | what | usage | type | values | rules |\n" + "|---" * 6 + "|")
        for r in listed:
            usage = f"{r.usage or ''}{' : ' + r.condition if r.condition else ''}"
            raised = ", ".join(f"`{rule}`" for rule in r.every_rule)
            parts.append(row_of(f"`{r.label}` {r.kind}".strip(), r.name, usage, r.type, codes_of(r), raised))
        if segment == "OBX":
            parts.append("\n| metadata, in order | what | usage |\n|---|---|---|")
            parts.extend(row_of(f"`{m.code}`", m.name, m.usage) for m in table.metadata.values())
        if segment == "destinations":
            parts.extend(routing_lines())
        ids = [rule for r in rows for rule in r.every_rule]
        new = [rule for rule in dict.fromkeys(ids) if rule not in told]
        told.update(new)
        if new:
            parts.extend(["", *rules_table(rules[rule] for rule in new)])
    forgotten = {*rules} - told | {r.segment for r in table.rows.values()} - {*SECTIONS}
    if forgotten:
        raise ValueError(f"in no section of the page: {', '.join(sorted(forgotten))}")
    return parts


def rules_text() -> str:
    """The profile's fields, then every rule of the core and of the connectors, table by table."""
    root = Path(__file__).resolve().parents[1]
    parts = [RULES_HEAD]
    names = ("dmp", "mss", "mss/inbound")
    for path in (*CORE_TABLES, *(root / "connectors" / name / "rules.toml" for name in names)):
        rules = read_rules(path)
        if path.parent.name == "profile":
            parts.extend(fields_text({rule.id: rule for rule in rules}))
            continue
        parts.append(f"\n## {TABLES.get(path.parent.name, path.parent.name)}\n")
        parts.append(f"`{path.relative_to(root).as_posix()}`\n")
        parts.extend(rules_table(rules))
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    RULES.write_text(rules_text(), encoding="utf-8")
