"""METADATA.XML rebuilt by the connector from the document of each official archive: the same, field by field.

Every attribute, slot, classification (code, scheme, display name) and external identifier is compared, for whatever
archives lie in the folder. What differs is in the tables below with its reason: anything else fails, with its lines.
"""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import pytest

from connectors.mss import xdm
from connectors.mss.plan import from_json
from fixtures import build
from gateway.hl7.transmission import Action
from tests.mss import samples
from tests.official import OFFICIAL, official
from tests.xds.flat import flat

NAMES = sorted(p.parent.name for p in (OFFICIAL / "xdm").glob("*/IHE_XDM.ZIP")) or ["absent"]
DOCUMENT, METADATA = "IHE_XDM/SUBSET01/DOC0001.XML", "IHE_XDM/SUBSET01/METADATA.XML"
ACTIONS = {"C": Action.REPLACE, "D": Action.DELETE, "": Action.SUBMIT}
Lines = dict[str, str]

ABSENT_THERE = {
    r" @objectType$": "rim.xsd: objectType of classifications and identifiers is optional; the DMP wants it",
    r" Name lang$": "xml:lang is optional; there on some names of the archives and not on others",
    r"urn:ihe:iti:xds:2013:referenceIdList": "optional slot; ours names the orders and accession numbers of the CDA",
}
"""What ours says and theirs leaves out, by path."""
EMPTY_THERE = {
    r" Description( lang)?$": "an empty text, which a description without a word would be",
    r"SUBMISSION_SET_NODE\[1\] @nodeRepresentation$": "an empty code: the marker has a node, not a code",
}
"""What theirs says without saying anything."""


class Slip(NamedTuple):
    """A value that differs: `same(theirs, ours, all their lines)` says that it is the known difference."""

    reason: str
    same: Callable[[str, str, Lines], bool]


DIFFERENT = {
    r" submissionTime$": Slip("a time", lambda t, o, _: len(t) == len(o) == 14),
    r"SET_UNIQUE_ID\[1\] @value$": Slip("an identifier of the lot", lambda t, o, _: t != o),
    r"SET_SOURCE_ID\[1\] @value$": Slip(
        "theirs is the custodian's identifier; ours the OID of the gateway, from its settings (TF-3 §4.2.3.3.9)",
        lambda t, o, _: o == samples.SETTINGS["source_oid"] and t.startswith("1.2.250.1.71.4.2.2."),
    ),
    r"SET_SOURCE_ID\[1\] Name$": Slip(
        "typing error", lambda t, o, _: t == "XDSSumissionSet.sourceId" and o == "XDSSubmissionSet.sourceId"
    ),
    r"SET_CONTENT_TYPE\[1\] (@nodeRepresentation|Name|codingScheme)$": Slip(
        "theirs repeats the code of the facility; the mapping takes JDV_J59 from PV1-2",
        lambda t, o, lines: t in [v for k, v in lines.items() if " / DOC_FACILITY[1] " in k],
    ),
    r" hash$": Slip(
        "capitals: hexadecimal digits compare without case", lambda t, o, _: t.lower() == o.lower()
    ),
    r"^association HasMember .*@objectType$": Slip(
        "the value of the slot SubmissionSetStatus where the class of the object stands",
        lambda t, o, _: t == "Original",
    ),
    r"DOC_FORMAT\[1\] codingScheme$": Slip(
        "ASS_A11 of 26/01/2024 gives IHE's scheme for IHE's formats; the archives name the ANS's",
        lambda t, o, _: t.startswith("1.2.250.1.213.1.1.4.") and o == "1.3.6.1.4.1.19376.1.2.3",
    ),
    r"DOC_TYPE\[1\] Name$": Slip(
        "another apostrophe: ours is the displayName of the CDA as it stands",
        lambda t, o, _: t.replace("’", "'") == o.replace("’", "'"),
    ),
}


def metadata_of(archive: bytes) -> list[tuple[str, str]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return flat(opened.read(METADATA))


def without_repeated_events(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """eventCodeList: the archives repeat a modality or a region for each act that has it; ours gives each once."""
    grouped: dict[int, list[tuple[str, str]]] = {}
    others = []
    for path, value in lines:
        found = re.fullmatch(r"(.* / DOC_EVENT)\[(\d+)\](.*)", path)
        if found is None:
            others.append((path, value))
        else:
            grouped.setdefault(int(found[2]), []).append((found[1] + "[{}]" + found[3], value))
    kept = dict.fromkeys(tuple(group) for _, group in sorted(grouped.items()))
    return others + [(p.format(n), v) for n, group in enumerate(kept, 1) for p, v in group]


def differences(theirs: list[tuple[str, str]], ours: list[tuple[str, str]]) -> list[str]:
    """What is not explained, one readable line each."""
    left, right = dict(without_repeated_events(theirs)), dict(without_repeated_events(ours))
    assert len(left) == len(without_repeated_events(theirs)), "two lines of one path"
    told = []
    for path in sorted(left.keys() | right.keys()):
        there, here = left.get(path), right.get(path)
        if there == here:
            continue
        if there is None and any(re.search(p, path) for p in ABSENT_THERE):
            continue
        if here is None and there in ("", "FR") and any(re.search(p, path) for p in EMPTY_THERE):
            continue
        slip = next((s for p, s in DIFFERENT.items() if re.search(p, path)), None)
        language = path.endswith(" Name lang") and {there, here} == {"", "FR"}
        known = there is not None and here is not None and slip is not None and slip.same(there, here, left)
        if not (known or language):
            told.append(f"{path}\n    theirs: {there}\n    ours:   {here}")
    return told


def rebuilt(content: bytes, action: Action) -> bytes:
    """The archive that our connector makes of a document; PRT SB left out, so that the author is the CDA's."""
    prepared = samples.preparation(samples.transmission(action, sender=None), content)
    delivery = samples.accepted(asyncio.run(samples.connector().prepare(prepared))).deliveries[0]
    return xdm.build(from_json(delivery.plan), [content])


@pytest.mark.official
@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_that_of_the_official_archive(name: str) -> None:
    """spec/mssante.md §1.6, §1.7: action slot, hash, size, times in UTC, codes, persons, identities."""
    archive = official("xdm", name, "IHE_XDM.ZIP").read_bytes()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        content = opened.read(DOCUMENT)
    theirs = metadata_of(archive)
    action = ACTIONS[dict(theirs).get("DOC0001.XML urn:action:extraMetadataSlot", "")]
    told = differences(theirs, metadata_of(rebuilt(content, action)))
    assert not told, "\n" + "\n".join(told)


@pytest.mark.official
@pytest.mark.parametrize("name", NAMES)
def test_the_tree_is_that_of_the_official_archive(name: str) -> None:
    """§1.5: the same entries (folders too), whatever their order; the document byte for byte."""
    path = official("xdm", name, "IHE_XDM.ZIP")
    with zipfile.ZipFile(path) as theirs:
        content = theirs.read(DOCUMENT)
        with zipfile.ZipFile(io.BytesIO(rebuilt(content, Action.SUBMIT))) as ours:
            assert sorted(ours.namelist()) == sorted(theirs.namelist())
            assert ours.read(DOCUMENT) == content
            assert ours.testzip() is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("DOC0001.XML / DOC_CLASS[1] @nodeRepresentation", "99"),
        ("DOC0001.XML / DOC_CLASS[1] codingScheme", "1.2.3"),
        ("DOC0001.XML / DOC_AUTHOR[1] authorPerson", "autre"),
        ("DOC0001.XML / DOC_PATIENT_ID[1] @value", "autre"),
        ("DOC0001.XML hash", "00"),
        ("DOC0001.XML creationTime", "20200101"),
        ("DOC0001.XML / DOC_TYPE[1] Name", "autre"),
        ("package / SET_CONTENT_TYPE[1] @nodeRepresentation", "autre"),
        ("package @status", ""),
    ],
)
def test_a_changed_field_is_told(path: str, value: str) -> None:
    """The comparison itself can fail: one field of our own archive changed is one difference with its path."""
    lines = metadata_of(rebuilt(build.cda_n1(), Action.SUBMIT))
    assert differences(lines, lines) == []
    changed = [(p, value if p == path else v) for p, v in lines]
    assert changed != lines
    (told,) = differences(changed, lines)
    assert told.startswith(path)
    (told,) = differences([line for line in lines if line[0] != path], lines)
    assert told.startswith(path)
