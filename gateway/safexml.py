"""The one XML parser of the gateway: no entities, no DTD, no network.

Purpose: every room and connector that reads XML from outside takes its parser here (spec/cda.md §5).
Guarantee: nothing is fetched and nothing is expanded. A DOCTYPE is still parsed: whoever reads a document refuses it
(`docinfo.internalDTD`). A new parser each time: lxml parsers are not to be shared between threads.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

HUGE = 9_000_000
"""libxml2 refuses text nodes over 10 MB unless told; it is told only for documents that need it."""


def safe_parser(size: int = 0, **options: Any) -> etree.XMLParser:
    """A parser for a document of `size` bytes; `options` are lxml's own, for what is not about safety."""
    return etree.XMLParser(
        # never `collect_ids=False`: with it lxml 6.1 loads an external DTD whatever the other options say
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        recover=False,
        huge_tree=size > HUGE,
        **options,
    )
