"""Validation against the public ebRIM schemas, without the network."""

from __future__ import annotations

from typing import Any

from lxml import etree

from tests.official import official

_XS = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace='
STUBS = {
    "xml.xsd": f'{_XS}"http://www.w3.org/XML/1998/namespace">'
    '<xs:attribute name="lang" type="xs:language"/></xs:schema>',
    "xcf.xsd": f'{_XS}"urn:ihe:iti:xds-b:2007">'
    '<xs:element name="Document" type="xs:base64Binary"/></xs:schema>',
}
"""What rim.xsd imports from outside its folder, as far as our requests use it."""


class Stubs(etree.Resolver):
    """Answers the imports of `STUBS`."""

    # the published stubs forget the third argument
    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]
        stub = STUBS.get(system_url.rpartition("/")[2])
        return None if stub is None else self.resolve_string(stub, context, base_url=system_url)


def valid(schema: str, tree: etree._Element) -> None:
    """Assert that a re-parsed copy of `tree` is valid (prefixes and all); skips without the schemas."""
    parser = etree.XMLParser()
    parser.resolvers.add(Stubs())
    xsd = etree.XMLSchema(etree.parse(official("schemas", schema), parser))
    xsd.assertValid(etree.fromstring(etree.tostring(tree)))
