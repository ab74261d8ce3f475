"""XSD validation of requests and answers, when the schemas are there.

Purpose: ebRIM 3.0, ebRS 3.0 and XDS.b schemas from a folder that the user names. They carry no licence in their
headers, so the project does not ship them.
Guarantee: nothing is fetched: what the schemas import from elsewhere is resolved by file name in the folder, or by the
few declarations below. Without a folder nothing is checked, and `present` says so.
Fails: `ConfigurationFault` at start for a folder whose schemas do not load; `Refusal` for what is not valid.
Source: spec/dmp.md §7 (ebRS30, IHEXDSB.xsd).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from lxml import etree

from connectors.dmp.simulator.answers import Refusal
from connectors.xds.ebrim import IHE
from gateway.errors import ConfigurationFault
from gateway.safexml import safe_parser

FILES: Final = ("lcm.xsd", "query.xsd", "rs.xsd", "IHEXDSB.xsd")
_XS = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace='
_STUBS: Final = {
    "xml.xsd": f'{_XS}"http://www.w3.org/XML/1998/namespace">'
    '<xs:attribute name="lang" type="xs:language"/></xs:schema>',
    "xcf.xsd": f'{_XS}"{IHE}"><xs:element name="Document" type="xs:base64Binary"/></xs:schema>',
}
_SHOWN = 3
_XSD = "{http://www.w3.org/2001/XMLSchema}"


class _Local(etree.Resolver):
    """Imports by file name, never from the network."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    # the published stubs forget the third argument
    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]
        name = system_url.rpartition("/")[2]
        if (self._folder / name).is_file():
            text = (self._folder / name).read_text(encoding="utf-8")
            return self.resolve_string(text.partition("?>")[2] or text, context, base_url=system_url)
        return self.resolve_string(_STUBS.get(name, ""), context, base_url=system_url)


class Schemas:
    """The loaded schemas, or none. Safe to use from several threads."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._loaded: dict[str, etree.XMLSchema] = {}
        self._lock = threading.Lock()
        for name in FILES if folder is not None else ():
            self._loaded[name] = _load(folder, name)  # type: ignore[arg-type]  # not None here

    @property
    def present(self) -> bool:
        """False: nothing is validated."""
        return bool(self._loaded)

    def problems(self, name: str, element: etree._Element) -> list[str]:
        """What is not valid in a copy of `element`: element and rule, without the values."""
        schema = self._loaded.get(name)
        if schema is None:
            return []
        tree = etree.fromstring(etree.tostring(element), safe_parser())
        with self._lock:
            if schema.validate(tree):
                return []
            log: Any = schema.error_log  # the published stubs forget that it is a list
            return [f"ligne {e.line} : {_rule(e.message)}" for e in log][:_SHOWN]

    def check(self, name: str, element: etree._Element, code: str) -> None:
        """Raises `Refusal` with `code` for what is not valid."""
        found = self.problems(name, element)
        if found:
            raise Refusal(code, f"sim: {name} : {' ; '.join(found)}")


def _rule(message: str) -> str:
    """libxml2's words up to the value that they quote: it may be a patient's."""
    head = message.partition(": ")[0]
    rest = message.partition(": ")[2]
    return head if "The value" in rest else message


def _load(folder: Path, name: str) -> etree.XMLSchema:
    parser = safe_parser()
    parser.resolvers.add(_Local(folder))
    try:
        tree = etree.parse(str(folder / name), parser)
        root = tree.getroot()
        if root.get("targetNamespace") == IHE and root.find(f"{_XSD}element[@name='Document']") is None:
            # some editions of rim.xsd refer to it, and libxml2 does not import a namespace into itself
            etree.SubElement(root, f"{_XSD}element", name="Document", type="xs:base64Binary")
        return etree.XMLSchema(tree)
    except (OSError, etree.XMLSyntaxError, etree.XMLSchemaParseError) as e:
        raise ConfigurationFault(f"schema {name} cannot be loaded from {folder}: {e}") from e
