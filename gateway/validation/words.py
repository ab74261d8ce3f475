"""The report in French, for people: words for layers and places, and the text of the command. Pure.

Guarantee: no word of approval for a layer that did not run. No value of the message nor of the document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from gateway.cda.package.reports import NAMES, Assertion
from gateway.errors import Finding, Place, Severity
from gateway.exchange.checking import Layer
from gateway.hl7.transmission import Action
from gateway.rules import megabytes
from gateway.validation.report import Report, Unit
from gateway.validation.source import Kind

LAYERS = {
    "profile": "Profil HL7 (volet Transmission)",
    "rules": "Règles du document CDA",
    "xsd": "Schéma XSD officiel",
    "schematron": "Schematrons officiels",
    "versions": "Versions (registre de la passerelle)",
    "dmp": "Vérification préalable DMP",
    "mss": "Vérification préalable MSSanté",
}
STATES = {
    Layer.PASSED: "conforme",
    Layer.WARNED: "conforme, avec des tolérances",
    Layer.FAILED: "non conforme",
    Layer.NOT_RUN: "NON EXÉCUTÉ",
    Layer.NOT_CONFIGURED: "NON CONFIGURÉ : rien n’a été vérifié",
    Layer.NOT_APPLICABLE: "sans objet",
}
VERDICTS = {"accept": "ACCEPTÉ", "warn": "ACCEPTÉ AVEC DES TOLÉRANCES", "reject": "REFUSÉ"}
ACKS = {
    "AA": "la passerelle répondrait AA",
    "AE": "la passerelle répondrait AE",
    "AR": "la passerelle répondrait AR (à renvoyer plus tard)",
}
ACTIONS = {Action.SUBMIT: "dépôt", Action.REPLACE: "remplacement", Action.DELETE: "suppression"}
DESTINATIONS = {"dmp": "DMP", "mss": "MSSanté"}
BODIES = {"nonXML": "niveau 1", "structured": "niveau 3", "none": "sans corps"}
PROCESSING = {"P": "production", "T": "formation", "D": "mise au point"}
_ONCE = frozenset({"MSH", "EVN", "PID", "PV1", "TXA", "UAC"})


def layer(name: str) -> str:
    """A layer in French."""
    return LAYERS.get(name, name)


def place_in_words(place: Place | None) -> str:
    """`OBX n° 3, champ 5, composante 2`; empty without a place."""
    if place is None:
        return ""
    words = [place.segment if place.segment in _ONCE else f"{place.segment} n° {place.occurrence}"]
    if place.field is not None:
        words.append(f"champ {place.field}")
    if place.repetition is not None and (place.repetition > 1 or place.component is None):
        words.append(f"répétition {place.repetition}")
    if place.component is not None:
        words.append(f"composante {place.component}")
    if place.subcomponent is not None:
        words.append(f"sous-composante {place.subcomponent}")
    return ", ".join(words)


def where(finding: Finding) -> str:
    """Where a finding stands: in the message, and in the document when that is known."""
    parts = [place_in_words(finding.place)]
    if finding.line is not None:
        parts.append(f"ligne {finding.line}{' du document' if finding.place else ''}")
    if finding.path:
        parts.append(finding.path)
    return ", ".join(p for p in parts if p)


def codes(finding: Finding) -> str:
    """`207 / 904`."""
    return " / ".join(c for c in (finding.err3, finding.err5) if c)


def not_judged(checks: Mapping[str, Layer]) -> str:
    """A sentence when layers did not run; empty when all did."""
    count = sum(state in (Layer.NOT_RUN, Layer.NOT_CONFIGURED) for state in checks.values())
    if not count:
        return ""
    if count == 1:
        return "Un contrôle n’a pas eu lieu : le verdict ne dit rien de lui."
    return f"{count} contrôles n’ont pas eu lieu : le verdict ne dit rien d’eux."


def families(unit: Unit) -> list[str]:
    """One line for each family of schematrons and document: `Structuration minimale : 1 écart (x.sch)`."""
    lines = []
    for number, report in enumerate(unit.schematron, 1):
        which = f"document n° {number}, " if len(unit.schematron) > 1 else ""
        for one in report.families:
            if not one.ran:
                said = f"NON EXÉCUTÉ : {one.reason}"
            elif one.failed:
                said = f"{one.failed} écart{'s' if one.failed > 1 else ''}"
            else:
                said = "aucun écart"
            lines.append(f"{which}{NAMES[one.family]} : {said}{f' ({one.schema})' if one.schema else ''}")
            if one.failed > len(one.assertions) > 0:
                lines[-1] += f" ; les {len(one.assertions)} premiers sont montrés"
    return lines


def assertions(unit: Unit) -> list[Finding]:
    """Each failed assertion as a finding of its own, for people: the sentences of the ACK quote the first ones only.

    The severity is that of the family's finding; a family whose rule is off has none, and is left out.
    """
    spoken = {(f.rule, f.place): f for f in unit.findings}
    places = list(unit.schematron_places) or [None] * len(unit.schematron)
    found = []
    for place, report in zip(places, unit.schematron, strict=True):
        for one in report.families:
            family = spoken.get((one.family.rule, place))
            if family is not None:
                found += [
                    replace(family, text=f"{NAMES[one.family]} : {_sentence(a)}", path=a.path, line=a.line)
                    for a in one.assertions
                ]
    return found


def _sentence(assertion: Assertion) -> str:
    return f"{assertion.text} ({assertion.identifier})" if assertion.identifier else assertion.text


def size(octets: int) -> str:
    """`2,3 Mo`, `12 ko`."""
    return f"{megabytes(octets)} Mo" if octets >= 100_000 else f"{max(1, octets // 1000)} ko"


def subject(unit: Unit) -> str:
    """What was checked: `message MDM^T02 (dépôt ; DMP, MSSanté ; production)`."""
    said = []
    if unit.action is not None:
        said.append(ACTIONS[unit.action])
    if unit.destinations:
        said.append(", ".join(DESTINATIONS[d] for d in unit.destinations))
    if unit.processing in PROCESSING:
        said.append(PROCESSING[unit.processing])
    if unit.kind is Kind.ER7:
        name = " ".join(word for word in ("message", unit.type, unit.control_id) if word)
    else:
        name = "document CDA"
    return f"{name} ({' ; '.join(said)})" if said else name


def headline(unit: Unit | Report) -> str:
    """`REFUSÉ — la passerelle répondrait AE`."""
    return f"{VERDICTS[unit.verdict]} — {ACKS[unit.code]}"


def as_text(report: Report) -> str:
    """The whole report, ended by a line feed."""
    lines = [
        f"{report.file or 'entrée standard'} : {headline(report)}",
        f"Jeu de sévérités : {report.conformance}",
    ]
    lines += [f"Remarque : {note}" for note in report.notes]
    for number, unit in enumerate(report.units, 1):
        lines.append("")
        if len(report.units) > 1:
            lines.append(f"Message n° {number} : {headline(unit)}")
        lines.extend(_unit(unit))
    return "\n".join(lines) + "\n"


def _unit(unit: Unit) -> Iterator[str]:
    yield f"Objet : {subject(unit)}"
    for document in unit.documents:
        place = unit.places.get(document.part)
        body = BODIES.get(document.header.body.kind, document.header.body.kind)
        yield f"Document{f' en {place}' if place else ''} : {body}, {size(len(document.content))}"
    yield from _checks(unit)
    for note in unit.notes:
        yield f"Remarque : {note}"
    errors = [f for f in unit.findings if f.severity is Severity.REJECT]
    tolerated = [f for f in unit.findings if f.severity is Severity.WARN]
    yield from _findings("Erreurs", errors)
    yield from _findings("Tolérances", tolerated)
    yield from _findings("Écarts des schematrons", assertions(unit))


def _checks(unit: Unit) -> Iterable[str]:
    yield "Contrôles :"
    width = max(len(layer(name)) for name in unit.checks)
    for name, state in unit.checks.items():
        yield f"  {layer(name):<{width}}  {STATES[state]}"
        if name == "schematron":
            yield from (f"    {line}" for line in families(unit))
    if missing := not_judged(unit.checks):
        yield f"  {missing}"


def _findings(title: str, findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield f"{title} ({len(findings)}) :"
    for number, finding in enumerate(findings, 1):
        place = where(finding)
        yield f"  {number}. {f'{place} — ' if place else ''}{codes(finding)} : {finding.text} [{finding.rule}]"
