"""Our own transpiler: Schematron (queryBinding xslt2) → XSLT 3, for Saxon.

Purpose: the package's schematrons need XSLT 2; the ISO skeleton makes a style sheet of 10 MB out of the
Structuration minimale (10 s to compile), this one 1 MB (1 s), with the same failed assertions (spec/cda.md §3).

How: an abstract rule is a named template (only those that are reached); a pattern is a mode whose rules are
templates by priority, applied to the nodes of the document in one flat pass; a pattern whose rules can only
match below a templateId that the document does not have is not walked at all. An assertion that fails writes
its number and the path of its node: its text never passes through Saxon, so that no value of the document can
come out with it. `doc()` and `document()` become a look-up in a map that the caller fills: a style sheet
opens no file.

Guarantee: pure. What cannot be transpiled is a fatal `Defect` of the schema; then there is no style sheet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from lxml import etree

from gateway.cda.package.schema import Defect, Schema, q

XSL = "http://www.w3.org/1999/XSL/Transform"
OWN = "urn:segur-gateway:schematron"
FILES = "files"
"""Style sheet parameter `{OWN}files`: map of reference as written → document node."""

_STRINGS = re.compile(r"""("[^"]*"|'[^']*')""")
_DOC = re.compile(r"(?<![\w:.$-])(?:fn:)?(doc|document|doc-available)(?=\s*\()")
_FORBIDDEN = re.compile(
    r"(?<![\w.$-])(?:fn:)?(unparsed-text[\w-]*|collection|uri-collection|json-doc|environment-variable|"
    r"available-environment-variables|transform|function-lookup|load-xquery-module|(?:saxon|java)[\w.-]*:[\w.-]+)"
    r"(?=\s*\()"
)
_PREDICATE = re.compile(r"\[[^\[\]]*\]")
_ROOT_TEST = re.compile(r"""@root\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_BLANKS = re.compile(r"\s+")
_REMARK = frozenset({"warning", "warn", "info", "information", "hint"})
_LONGEST = 240

Weight = Literal["error", "remark"]


@dataclass(frozen=True, slots=True)
class Check:
    """One assert or report of a schema: the text for people with `…` where the document's values would stand."""

    identifier: str
    pattern: str
    text: str
    weight: Weight


@dataclass(slots=True)
class Sheet:
    """A style sheet ready for Saxon: it writes one line `number<TAB>path` per failed check and
    `!<TAB>pattern<TAB>error code` for a pattern that broke.
    """

    name: str
    xslt: bytes
    checks: list[Check] = field(default_factory=list)
    references: set[str] = field(default_factory=set)
    """Value sets that its expressions name, as written."""


def transpile(schema: Schema) -> Sheet | None:
    """The style sheet of `schema`; None when the schema has a fatal defect (see `schema.defects`)."""
    maker = _Maker(schema)
    sheet = maker.make()
    return None if any(d.fatal for d in schema.defects) else sheet


class _Maker:
    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        own = {"xsl": XSL, "seg": OWN, "segerr": _ERR}
        self.out = etree.Element(f"{{{XSL}}}stylesheet", nsmap={**schema.namespaces(), **own})
        self.out.set("version", "3.0")
        self.out.set("exclude-result-prefixes", "#all")
        self.sheet = Sheet(schema.name, b"")
        self._variables: dict[str, str] = {}

    def make(self) -> Sheet:
        self.out.append(etree.fromstring(_PRELUDE_OUTPUT))
        for piece in _PRELUDE:
            self.out.append(etree.fromstring(piece))
        patterns = self.schema.patterns()
        for let in self.schema.root.findall(q("let")):
            self._global(let)
        for pattern in patterns:
            for let in pattern.findall(q("let")):
                self._global(let)
        self._abstract_rules(patterns)
        start = self._xsl(self.out, "template", match="/")
        for number, pattern in enumerate(patterns):
            self._pattern(start, number, pattern)
        self.sheet.xslt = etree.tostring(self.out, encoding="UTF-8")
        return self.sheet

    # --- pieces ---------------------------------------------------------------------------------------------

    def _xsl(self, parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
        return etree.SubElement(
            parent, f"{{{XSL}}}{tag}", {k.replace("_", "-"): v for k, v in attributes.items()}
        )

    def _line(self, parent: etree._Element, expression: str) -> None:
        self._xsl(parent, "value-of", select=expression)

    def _global(self, let: etree._Element) -> None:
        """A `let` of the schema or of a pattern. ANS schemas use those of a pattern everywhere (as the ISO skeleton
        lets them).
        """
        name, value = let.get("name", ""), let.get("value", "")
        if name in self._variables:
            if self._variables[name] != value:
                self.schema.defects.append(Defect("let-twice", self.schema.name, name, fatal=True))
            return
        self._variables[name] = value
        self._xsl(self.out, "variable", name=name, select=self._expression(value))

    def _abstract_rules(self, patterns: list[etree._Element]) -> None:
        rules = self.schema.abstract_rules()
        wanted = [
            e.get("rule", "")
            for p in patterns
            for r in p.iter(q("rule"))
            if r.get("abstract") != "true"
            for e in r.iter(q("extends"))
        ]
        done: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name in done:
                continue
            done.add(name)
            if name not in rules:
                self.schema.defects.append(
                    Defect("abstract-rule-missing", self.schema.name, name, fatal=True)
                )
                continue
            template = self._xsl(self.out, "template", name=_template(name))
            self._body(template, rules[name], name)
            wanted.extend(e.get("rule", "") for e in rules[name].iter(q("extends")))

    def _pattern(self, start: etree._Element, number: int, pattern: etree._Element) -> None:
        rules = [r for r in pattern.iter(q("rule")) if r.get("abstract") != "true" and r.get("context")]
        if not rules:
            return
        contexts = [r.get("context", "") for r in rules]
        mode = f"seg:p{number}"
        self._xsl(self.out, "mode", name=mode, on_no_match="deep-skip", on_multiple_match="use-last")
        needed = [_needed_roots(c) for c in contexts]
        where = start
        if all(needed):
            roots = ", ".join(_literal(r) for r in sorted(set().union(*needed)))
            where = self._xsl(start, "if", test=f"$seg:roots = ({roots})")
        guarded = self._xsl(where, "try")
        nodes = "$seg:elements"
        if not all(_elements_only(c) for c in contexts):
            nodes = "/ | //node() | //@*"
            # deep-skip goes from an unmatched document node to its children: they would be judged twice
            self._xsl(self.out, "template", match="/", mode=mode, priority="-1")
        self._xsl(guarded, "apply-templates", select=nodes, mode=mode)
        # a rule that cannot be evaluated on this document (two values where it wants one) must not hide the others:
        # once more, node by node. Of the error its code only: its text may quote the document
        again = self._xsl(self._xsl(guarded, "catch"), "for-each", select=nodes)
        one = self._xsl(again, "try")
        self._xsl(one, "apply-templates", select=".", mode=mode)
        name = pattern.get("id") or f"#{number + 1}"
        broken = f"concat('!\t', {_literal(name)}, '\t', local-name-from-QName($segerr:code), '\n')"
        self._line(self._xsl(one, "catch"), broken)
        for index, rule in enumerate(rules):
            template = self._xsl(
                self.out,
                "template",
                match=self._expression(rule.get("context", "")),
                mode=mode,
                priority=str(len(rules) - index),
            )
            self._body(template, rule, name)

    def _body(self, template: etree._Element, rule: etree._Element, pattern: str) -> None:
        for child in rule.iterchildren(etree.Element):
            match etree.QName(child).localname:
                case "let":
                    self._xsl(
                        template,
                        "variable",
                        name=child.get("name", ""),
                        select=self._expression(child.get("value", "")),
                    )
                case "extends":
                    self._xsl(template, "call-template", name=_template(child.get("rule", "")))
                case "assert" | "report" as kind:
                    self._check(template, child, pattern, negated=kind == "assert")

    def _check(self, template: etree._Element, child: etree._Element, pattern: str, *, negated: bool) -> None:
        test = self._expression(child.get("test", ""))
        number = len(self.sheet.checks)
        weight: Weight = "remark" if (child.get("role") or "").lower() in _REMARK else "error"
        self.sheet.checks.append(Check(child.get("id") or "", pattern, _text(child), weight))
        failed = self._xsl(template, "if", test=f"not({test})" if negated else test)
        self._line(failed, f"concat('{number}\t', path(.), '\n')")

    def _expression(self, text: str) -> str:
        """An XPath expression with its `doc()` redirected; what could reach outside is a fatal defect."""
        parts = _STRINGS.split(text)
        for index, part in enumerate(parts):
            if index % 2:
                if part[1:-1].lower().endswith(".xml"):
                    self.sheet.references.add(part[1:-1])
                continue
            forbidden = _FORBIDDEN.search(part)
            if forbidden:
                self.schema.defects.append(
                    Defect("function-refused", self.schema.name, forbidden[1], fatal=True)
                )
            parts[index] = _DOC.sub(lambda m: "seg:has-doc" if m[1] == "doc-available" else "seg:doc", part)
        return "".join(parts)


# --- what does not need the schema --------------------------------------------------------------------------


_ERR = "http://www.w3.org/2005/xqt-errors"
_MAP = "http://www.w3.org/2005/xpath-functions/map"
_XS = "http://www.w3.org/2001/XMLSchema"
_SPACES = f'xmlns:xsl="{XSL}" xmlns:seg="{OWN}" xmlns:map="{_MAP}" xmlns:xs="{_XS}"'
_PRELUDE_OUTPUT = f'<xsl:output {_SPACES} method="text" encoding="UTF-8"/>'
_PRELUDE = (
    f'<xsl:param {_SPACES} name="seg:{FILES}" as="map(*)" select="map{{}}"/>',
    f'<xsl:variable {_SPACES} name="seg:elements" select="//*"/>',
    f'<xsl:variable {_SPACES} name="seg:roots" select="distinct-values(//@root)"/>',
    f"""<xsl:function {_SPACES} name="seg:doc" as="document-node()?"><xsl:param name="href"/>
<xsl:sequence select="if (empty($href)) then () else if (map:contains($seg:{FILES}, string($href)))
 then $seg:{FILES}(string($href)) else error(xs:QName('seg:missing-file'))"/></xsl:function>""",
    f"""<xsl:function {_SPACES} name="seg:has-doc" as="xs:boolean"><xsl:param name="href"/>
<xsl:sequence select="exists($href) and map:contains($seg:{FILES}, string($href))"/></xsl:function>""",
)


def _template(rule: str) -> str:
    return "seg:" + re.sub(r"[^\w.-]", "_", rule)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _without_predicates(context: str) -> str:
    """The steps of a match pattern alone."""
    text = _STRINGS.sub("''", context)
    while True:
        shorter = _PREDICATE.sub("", text)
        if shorter == text:
            return text
        text = shorter


def _elements_only(context: str) -> bool:
    """True when the match pattern can only match elements."""
    steps = _without_predicates(context)
    return not re.search(r"@|\(|attribute::|(?:^|\|)\s*/\s*(?:$|\|)", steps)


def _needed_roots(context: str) -> set[str]:
    """`@root` values of which one must be in the document for the match pattern to match; empty: none known.

    Only what is certain: one alternative, no `or`, no function, an equality of `@root` with a literal.
    """
    text = _STRINGS.sub("''", context)
    if "|" in text or "(" in text or re.search(r"\bor\b|!=|\bne\b|\bevery\b|\bsome\b|\bif\b", text):
        return set()
    found = _ROOT_TEST.search(context)
    return {found[1] if found[1] is not None else found[2]} if found else set()


def _text(check: etree._Element) -> str:
    """The fixed text of an assertion; each inserted value is `…`."""
    parts = [check.text or ""]
    for child in check.iterchildren(etree.Element):
        inserted = etree.QName(child).localname in ("value-of", "name")
        parts.append("…" if inserted else "".join(str(t) for t in child.itertext()))
        parts.append(child.tail or "")
    text = _BLANKS.sub(" ", "".join(parts)).strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
