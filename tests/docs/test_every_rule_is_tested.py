"""Every rule of every table is the subject of a test: its id stands where something is asserted of it.

A word in a comment or in a docstring does not count. What counts is a string of the tests' code that holds the rule's
id as a value: in an assertion, in the arguments of `parametrize`, in a table of cases (`"MSH9-TYPE MSH^1^9"`), or in a
call to one of the tests' own functions. The profile has more: `tests/hl7/test_profile.py` raises each of its rules.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gateway.rules import CORE_TABLES, read_rules

ROOT = Path(__file__).resolve().parents[2]
TABLES = (*CORE_TABLES, *sorted((ROOT / "connectors").rglob("rules.toml")))
OWED = frozenset(
    {
        "CDA-B08",
        "CDA-SCH-ANS",
        "CDA-SCH-IHE",
        "CDA-SCH-MODELS",
        "CDA-SCH-NOTE",
        "CDA-SCH-REMARKS",
        "CDA-SCH-VOLET",
        "DMP-ABSENT",
        "DMP-PRACTICE",
    }
)
"""Rules that have no test yet. It only shrinks: a rule that is not in it must have one."""

_ID = re.compile(r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+")


def _claims(tree: ast.AST) -> Iterator[str]:
    """Strings of a test module that are not documentation."""
    prose = {
        id(statement.value)
        for statement in ast.walk(tree)
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def rules_tested() -> set[str]:
    """Rule ids that some test names as a value."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if path != Path(__file__).resolve():
            for text in _claims(ast.parse(path.read_text(encoding="utf-8"))):
                found.update(_ID.findall(text))
    return found


def test_every_rule_is_the_subject_of_a_test() -> None:
    known = {rule.id for table in TABLES for rule in read_rules(table)}
    missing = known - rules_tested() - OWED
    assert not missing, f"rules without a test: {', '.join(sorted(missing))}"
