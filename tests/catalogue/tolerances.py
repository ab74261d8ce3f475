"""What is accepted with a warning: the journal keeps it under its rule's name, the ACK says nothing of it."""

from __future__ import annotations

import dataclasses

from fixtures import build
from tests.catalogue.entry import b64, swap, tolerated, with_data
from tests.hl7.messages import add, copy, drop, put

HERE = "OBX^1^5"
PATIENT = build.PATIENT

tolerated(
    "line-feeds", "Segments terminés par LF", lambda g: g.mdm.replace(b"\r", b"\n"), "MSG-LINE-ENDS MSH^1"
)
tolerated("z-segment", "Segment Z", lambda g: g.mdm + b"ZPI|1|local\r", "SEG-IGNORED ZPI^1")
tolerated(
    "msh-9-structure-absent",
    "MSH-9.3 absent",
    lambda g: put(g.mdm, "MSH^1^9", "MDM^T02"),
    "MSH9-STRUCTURE-ABSENT MSH^1^9^1^3",
)
tolerated(
    "msh-21-blank",
    "Espace dans MSH-21",
    lambda g: put(g.mdm, "MSH^1^21", "2.1^ CISIS_CDA_HL7_V2"),
    "MSH21-BLANK MSH^1^21",
)
tolerated(
    "prt-blank",
    "Espace en fin de champ dans un PRT",
    lambda g: put(g.mdm, "PRT^2^2", "UC "),
    "PRT-BLANKS PRT^2",
)
tolerated(
    "prt-telephone",
    "Téléphone à côté de l'adresse MSSanté",
    lambda g: put(g.mdm, "PRT^2^15", "^^X.400^dr.martin@test-hopital.mssante.fr~^PRN^PH^^^^0102030405"),
    "FIELD-REPETITION-IGNORED PRT^2^15^2",
)
tolerated(
    "ack-lecture-alias",
    "ACK_LECTURE au lieu de ACK_LECTURE_MSS",
    lambda g: g.mdm.replace(b"ACK_LECTURE_MSS", b"ACK_LECTURE"),
    "META-ALIAS OBX^11^3^1^1",
)
tolerated(
    "b64-padding",
    "Base64 du document sans « = »",
    lambda g: with_data(
        g.mdm, b64(g.n1(title="Titre d'essai."[: 14 - len(g.n1(title="")) % 3])).rstrip(b"=")
    ),
    f"CDA-B64-PADDING {HERE}",
)
tolerated(
    "latin-document",
    "Document déclaré et écrit en ISO-8859-15",
    lambda g: g.send(
        swap(g.n1(), '"UTF-8"', '"ISO-8859-15"').decode().encode("iso-8859-15"), document_id=g.uid()
    ),
    f"CDA-H00 {HERE}",
)
tolerated(
    "given-differs",
    "Premiers prénoms différents",
    lambda g: g.send(g.n1(patient=dataclasses.replace(PATIENT, birth_given="ANDREA"))),
    "CDA-M01-GIVEN PID^1^5",
)
tolerated(
    "one-more-id",
    "Un identifiant de plus dans PID-3",
    lambda g: put(g.mdm, "PID^1^3", copy(g.mdm, "PID").split("|")[3] + "~77^^^AUTRE&1.2.3.4&ISO^PI"),
    f"CDA-M01-IDS {HERE}",
)
tolerated(
    "rct-twice",
    "Le même destinataire deux fois",
    lambda g: add(g.mdm, "PRT", copy(g.mdm, "PRT", 2), 2),
    "RCT-REPEATED PRT^3^15^1^4",
)
tolerated(
    "txa-13-on-first",
    "TXA-13 rempli dans une première transmission",
    lambda g: put(g.mdm, "TXA^1^13", "1.2.3"),
    "TXA13-UNEXPECTED TXA^1^13",
)
tolerated(
    "unknown-predecessor-accepted",
    "Remplacement d'un document jamais transmis ici",
    lambda g: g.send(g.n1(2, 1), "T10"),
    f"CDA-V-UNKNOWN {HERE}",
)
tolerated(
    "interop-no-evn-2",
    "EVN-2 vide, en interop",
    lambda g: put(g.mdm, "EVN^1^2", ""),
    "EVN2-ABSENT EVN^1^2",
    world="interop",
)
tolerated(
    "interop-meta-order",
    "Métadonnées dans le désordre, en interop",
    lambda g: add(drop(g.mdm, "OBX", 2), "OBX", copy(g.mdm, "OBX", 2), 2),
    "META-ORDER OBX^3",
    world="interop",
)
