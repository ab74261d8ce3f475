"""Write docs/settings.md from the models of the settings: `python docs/make_settings.py`. A test keeps it fresh."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from connectors.dmp.settings import DmpSettings
from connectors.dpi.settings import DpiSettings
from connectors.mss.settings import MssSettings
from gateway.settings import Settings

TARGET = Path(__file__).with_name("settings.md")
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
    shown = text if len(text) <= 70 else "see the code"
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
        meaning = docs.get(key) or (" ".join((inner[0].__doc__ or "").split()) if inner else "")
        seen.append(f"| `{key}` | {default_of(field)} | {meaning.replace('|', chr(92) + '|')} |")
    for path, inner_model in below:
        table(path, inner_model, seen)


def text() -> str:
    """The whole page."""
    parts = [HEAD]
    table("", Settings, parts)
    for name, model in (("dmp", DmpSettings), ("mss", MssSettings), ("dpi", DpiSettings)):
        table(f"connectors.{name}", model, parts)
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
