"""Write docs/settings.md from the models of the settings: `python docs/make_settings.py`. A test keeps it fresh."""

from __future__ import annotations

import ast
import inspect
import textwrap
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from connectors.dmp.settings import DmpSettings
from connectors.dpi.settings import DpiSettings
from connectors.mss.settings import MssSettings
from gateway.rules import CORE_TABLES, read_rules
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
    for name, model in (("dmp", DmpSettings), ("mss", MssSettings), ("dpi", DpiSettings)):
        table(f"connectors.{name}", model, parts)
    return "\n".join(parts) + "\n"


RULES_HEAD = """# Rules

Generated from the rule tables by `python docs/make_settings.py`; do not edit.

Every check is a named rule: its id is ERR-7 of the ACK. `production` and `interop` are the presets (`conformance`);
`[severity]` of the settings changes single rules (`"RULE-ID" = "warn"`), except the invariants (patient safety).
ERR-3 is a code of table 0357, ERR-5 of table 0533 (only with 207). `{words}` are filled by the check.
"""


def rules_text() -> str:
    """Every rule of the core and of the connectors, table by table."""
    root = Path(__file__).resolve().parents[1]
    parts = [RULES_HEAD]
    for path in (*CORE_TABLES, *(root / "connectors" / name / "rules.toml" for name in ("dmp", "mss"))):
        parts.append(f"\n## `{path.relative_to(root).as_posix()}`\n")
        parts.append(
            "| rule | production | interop | ERR-3 | ERR-5 | sentence (ERR-8) | source |\n" + "|---" * 7 + "|"
        )
        for rule in read_rules(path):
            interop = "invariant" if rule.invariant else rule.severity["interop"].value
            cells = (
                f"`{rule.id}`",
                rule.severity["production"].value,
                interop,
                rule.err3,
                rule.err5 or "",
                rule.text,
                rule.source,
            )
            parts.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    RULES.write_text(rules_text(), encoding="utf-8")
