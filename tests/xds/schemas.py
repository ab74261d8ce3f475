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
        name = system_url.rpartition("/")[2]
        stub = STUBS.get(name)
        if stub is not None:
            return self.resolve_string(stub, context, base_url=system_url)
        # IHEXDSB.xsd looks for the ebRS schemas in a folder beside its own
        return (
            self.resolve_filename(str(official("schemas", name)), context) if "ebRS30" in system_url else None
        )


def valid(schema: str, tree: etree._Element) -> None:
    """Assert that a re-parsed copy of `tree` is valid (prefixes and all); skips without the schemas."""
    parser = etree.XMLParser()
    parser.resolvers.add(Stubs())
    tree_of_schema = etree.parse(official("schemas", schema), parser)
    if schema == "IHEXDSB.xsd":
        # rim.xsd wants an element of this namespace, which libxml2 does not import into itself
        tree_of_schema.getroot().append(etree.fromstring(STUBS["xcf.xsd"])[0])
    xsd = etree.XMLSchema(tree_of_schema)
    copy = etree.fromstring(etree.tostring(tree))
    for include in list(copy.iter("{http://www.w3.org/2004/08/xop/include}Include")):
        # what MTOM stands for
        document = include.getparent()
        assert document is not None
        document.remove(include)
        document.text = "AA=="
    xsd.assertValid(copy)
