"""ITI-57 metadata update (TD3.3a, TD3.3b): the stored DocumentEntry sent back with other confidentiality codes.

Purpose: build the request from the ExtrinsicObject that the registry gave (LeafClass). Pure.
Guarantee: everything but the confidentiality codes goes back as it came (lid, status, VersionInfo, hash, size,
repositoryUniqueId…); new symbolic identifiers, since the registry assigns its own; the element order of rim.xsd.
Fails: never for what `connectors.xds.registry` read.
Source: spec/dmp.md §3.8 (CNAM template of masking).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from lxml import etree

from connectors.xds import ebrim
from connectors.xds.model import SubmissionSet, XdsCode

_RIM = f"{{{ebrim.RIM}}}"
_DOCUMENT = "Document01"


def metadata_update(
    lot: SubmissionSet, stored: etree._Element, confidentiality: Sequence[XdsCode]
) -> etree._Element:
    """`lcm:SubmitObjectsRequest` that gives `stored` these confidentiality codes, all of them."""
    layout = ebrim.Layout()
    root, listed = ebrim.new_request()
    package = ebrim.add_package(listed, layout, lot)
    made = deepcopy(stored)
    info = made.find(f"{_RIM}VersionInfo")
    previous = (info.get("versionName") or "1") if info is not None else "1"
    made.set("id", _DOCUMENT)
    etree.strip_tags(made, etree.Comment, etree.ProcessingInstruction)
    made.tail = None
    for old in made.findall(f"{_RIM}Classification"):
        if old.get("classificationScheme") == ebrim.DOC_CONFIDENTIALITY:
            made.remove(old)
    first_external = made.find(f"{_RIM}ExternalIdentifier")
    at = made.index(first_external) if first_external is not None else len(made)
    for code in confidentiality:
        ebrim.add_code(made, layout, ebrim.DOC_CONFIDENTIALITY, code)
        made.insert(at, made[-1])
        at += 1
    for part in made.findall(f"{_RIM}Classification"):
        part.set("id", layout.part_id())
        part.set("classifiedObject", _DOCUMENT)
    for part in made.findall(f"{_RIM}ExternalIdentifier"):
        part.set("id", layout.part_id())
        part.set("registryObject", _DOCUMENT)
    listed.append(made)
    ebrim.add_association(
        listed,
        layout,
        ebrim.HAS_MEMBER,
        package,
        _DOCUMENT,
        SubmissionSetStatus="Original",
        PreviousVersion=previous,
    )
    return root
