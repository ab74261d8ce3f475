"""Addresses: syntax, domain, national white list. Pure but for `read_white_list`, which reads one file.

Purpose: decide before the ACK whether a recipient can be written to.
Guarantee: an address that passes `is_address` holds only characters that are safe in an SMTP command and in a
header.
Fails: `ConfigurationFault` when the white list cannot be read.
Source: RFC 5321 §4.1.2 (dot-string form only: MSSanté addresses have no quoted local part), spec/mssante.md
§1.4.
"""

from __future__ import annotations

import re
from pathlib import Path

from lxml import etree

from gateway.errors import ConfigurationFault
from gateway.safexml import safe_parser

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# a last label of one letter is a truncated address (seen in the volet's own examples), never a real domain
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>(?:{_LABEL}\.)+[A-Za-z]{{2,63}})")
_NAMESPACE = "{https://listeblanche.mssante.fr/schema}"


def is_address(text: str) -> bool:
    """True for `local@domain` of ASCII atoms, within the lengths of RFC 5321 §4.5.3.1."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and len(match["local"]) <= 64 and len(text) <= 254


def domain_of(address: str) -> str:
    """The domain in lower case."""
    return address.rpartition("@")[2].lower()


def same_mailbox_key(address: str) -> str:
    """What makes two spellings one mailbox: MSSanté operators compare local parts without case."""
    return address.lower()


def read_white_list(path: Path) -> frozenset[str]:
    """The lower-cased domains of a `listeblanchemssante.xml` file. Raises `ConfigurationFault`."""
    try:
        tree = etree.parse(path, safe_parser())
    except (OSError, etree.XMLSyntaxError) as e:
        raise ConfigurationFault(f"white list {path.name} cannot be read: {type(e).__name__}") from e
    names = frozenset(
        (element.text or "").strip().lower()
        for element in tree.iter(f"{_NAMESPACE}Nom")
        if (element.text or "").strip()
    )
    if tree.docinfo.internalDTD is not None or not names:
        raise ConfigurationFault(f"white list {path.name} holds no domain, or a DOCTYPE")
    return names
