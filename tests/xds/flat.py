"""METADATA.XML as lines of text that can be compared: every attribute, slot, classification and identifier.

Identifiers of objects are replaced by what they name, so that two archives made apart can be the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from connectors.xds import ebrim

NAMES = {
    value: name
    for name, value in vars(ebrim).items()
    if isinstance(value, str) and value.startswith("urn:uuid:") and name.isupper()
}
RIM = f"{{{ebrim.RIM}}}"
_NAMING = {"id", "classifiedObject", "registryObject", "sourceObject", "targetObject"}
"""Attributes that hold identifiers made for one archive."""


def flat(metadata: bytes) -> list[tuple[str, str]]:
    """(path, value) in an order that does not depend on the order of the siblings of one kind."""
    root = etree.fromstring(metadata.lstrip())
    listed = root.find(f"{RIM}RegistryObjectList")
    assert listed is not None
    objects = [o for o in listed if isinstance(o.tag, str)]
    roles = {o.get("id", ""): _role(o) for o in objects if not o.tag.endswith("Association")}
    return sorted(line for o in objects for line in _object(o, roles))


def _role(element: etree._Element) -> str:
    if element.tag.endswith("RegistryPackage"):
        return "package"
    uris = element.xpath("*[local-name()='Slot'][@name='URI']//*[local-name()='Value']/text()")
    return str(uris[0]).strip() if uris else "document"


def _object(element: etree._Element, roles: dict[str, str]) -> Iterator[tuple[str, str]]:
    kind = etree.QName(element).localname
    if kind == "Association":
        told = element.get("associationType", "").rpartition(":")[2]
        ends = [roles.get(element.get(end, ""), "?") for end in ("sourceObject", "targetObject")]
        path = f"association {told} {ends[0]} > {ends[1]}"
        yield path, ""
    else:
        path = roles[element.get("id", "")]
    yield from _attributes(path, element, _NAMING | {"associationType"})
    counts: dict[str, int] = {}
    for child in element:
        if not isinstance(child.tag, str):
            continue
        name = etree.QName(child).localname
        if name in ("Classification", "ExternalIdentifier"):
            scheme = child.get("classificationScheme") or child.get("identificationScheme")
            word = NAMES.get(scheme or child.get("classificationNode", ""), scheme or "?")
            # siblings of one scheme are told apart by their rank: their order counts (first confidentiality…)
            counts[word] = counts.get(word, 0) + 1
            below = f"{path} / {word}[{counts[word]}]"
            yield from _attributes(below, child, _NAMING)
            for inner in child:
                if isinstance(inner.tag, str):
                    yield from _leaf(below, inner)
        else:
            yield from _leaf(path, child)


def _attributes(path: str, element: etree._Element, without: set[str]) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        if name not in without:
            yield f"{path} @{name}", NAMES.get(str(value), str(value))


def _leaf(path: str, element: etree._Element) -> Iterator[tuple[str, str]]:
    name = etree.QName(element).localname
    if name == "Slot":
        values = [(v.text or "").strip() for v in element.iter(f"{RIM}Value")]
        for number, value in enumerate(values, 1):
            yield f"{path} {element.get('name')}" + (f"({number})" if len(values) > 1 else ""), value
        return
    for text in element.iter(f"{RIM}LocalizedString"):
        yield f"{path} {name}", text.get("value", "")
        language = text.get("{http://www.w3.org/XML/1998/namespace}lang")
        yield f"{path} {name} lang", language or ""
