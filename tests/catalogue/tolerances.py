"""What is accepted with a warning: the journal keeps it under its rule's name, the ACK says nothing of it."""

from __future__ import annotations

import dataclasses

from fixtures import build
from tests.catalogue.entry import b64, content, swap, tolerated, with_data
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
    "MSH21-BLANK MSH^1^21^1^2",
)
tolerated(
    "prt-blank",
    "Espace en fin de champ dans un PRT",
    lambda g: put(g.mdm, "PRT^2^2", "UC "),
    "PRT-BLANKS PRT^2^2",
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


def with_ins(number: str) -> build.Patient:
    return dataclasses.replace(PATIENT, ins=number)


WRONG_KEY = PATIENT.ins[:13] + f"{(int(PATIENT.ins[13:]) % 97) + 1:02d}"
NIA_NUMBER = "2900175123456"
NIA = f"{NIA_NUMBER}{build.ins_key(NIA_NUMBER)}^^^ASIP-SANTE-INS-NIA&1.2.250.1.213.1.4.9&ISO^INS"

tolerated(
    "ins-key",
    "INS dont la clé est fausse",
    lambda g: g.send(g.n1(patient=with_ins(WRONG_KEY)), patient=with_ins(WRONG_KEY)),
    "PID3-INS-FORM PID^1^3^1^1",
    f"CDA-I01-KEY {HERE}",
)
tolerated(
    "two-ins",
    "NIR et NIA dans PID-3",
    lambda g: put(g.mdm, "PID^1^3", copy(g.mdm, "PID").split("|")[3] + "~" + NIA),
    "PID3-SEVERAL-INS PID^1^3^3^1",
    f"CDA-M01-IDS {HERE}",
)
tolerated(
    "txa-12-organisation",
    "Organisation en TXA-12.2",
    lambda g: put(g.mdm, "TXA^1^12", f"{g.uid()}^HOPITAL"),
    "TXA-ID-ORGANISATION TXA^1^12^1^2",
)
tolerated(
    "txa-12-other-form",
    "TXA-12 avec une extension que le document n'a pas",
    lambda g: put(g.mdm, "TXA^1^12", f"42^^{g.uid()}^ISO"),
    "CDA-M01-ID-FORM TXA^1^12",
)
tolerated("prt-2", "PRT-2 autre que UC", lambda g: put(g.mdm, "PRT^2^2", "AD"), "PRT2-VALUE PRT^2^2")
tolerated(
    "prt-15-type",
    "PRT-15.3 autre que X.400",
    lambda g: put(g.mdm, "PRT^2^15", "^^Internet^dr.martin@test-hopital.mssante.fr"),
    "PRT15-TYPE PRT^2^15^1^3",
)
tolerated(
    "recipients-not-asked",
    "Destinataires donnés, envoi MSSanté non demandé",
    lambda g: g.send(flags={"DESTMSSANTEPS": "N"}),
    "RCT-UNUSED PRT^2",
    "RCT-UNUSED PRT^3",
)
tolerated(
    "meta-system",
    "Nomenclature d'une métadonnée",
    lambda g: put(g.mdm, "OBX^2^3^1^3", "Meta"),
    "META-SYSTEM OBX^2^3^1^3",
)
tolerated(
    "body-padding",
    "Base64 du corps sans « = »",
    lambda g: put(g.mdm, "OBX^12^5^1^5", "Qm9uam91ciw"),
    "BODY-PADDING OBX^12^5^1^5",
)
tolerated(
    "identity-not-qualified-dmp",
    "Identité non qualifiée vers le DMP",
    lambda g: put(g.mdm, "PID^1^32", "PROV"),
    "DMP-INS-STATUS PID^1^32",
)
tolerated(
    "no-ins-mss-alone",
    "Pas d'INS dans le document, MSSanté seule",
    lambda g: g.send(g.n1(with_ins=False), flags={"DESTDMP": "N"}),
    f"CDA-I00 {HERE}",
    f"CDA-M01-IDS {HERE}",
)
tolerated(
    "id-extension-mss-alone",
    "id avec extension, MSSanté seule",
    lambda g: g.send(g.n1(uid=f"{g.uid()}^42"), flags={"DESTDMP": "N"}),
    f"CDA-H08-EXTENSION {HERE}",
)
tolerated(
    "two-levels-1",
    "ORU : deux documents de niveau 1",
    lambda g: g.send_oru(g.n1(), g.n1(uid=f"{g.root}.8.1", set_id=f"{g.root}.8")),
    "CDA-PAIR-LEVELS OBX^2^5",
)
tolerated(
    "replaces-an-unknown-on-first",
    "Première transmission qui dit remplacer un inconnu",
    lambda g: g.send(g.n1(2, 1)),
    f"CDA-V-RPLC-UNKNOWN {HERE}",
)
tolerated(
    "deletes-other-bytes",
    "Suppression avec un document qui diffère de celui transmis",
    lambda g: g.send(g.n1(title="Autre titre"), "T04"),
    f"CDA-V-DELETE-BYTES {HERE}",
    before=lambda g: g.before(g.mdm),
)
tolerated(
    "n3-without-pdf",
    "Niveau 3 sans copie PDF, par MSSanté",
    lambda g: g.send(g.n3(pdf_copy=None)),
    f"MSS-PDF-ABSENT {HERE}",
)
tolerated(
    "null-flavor",
    "nullFlavor hors de la liste dans l'en-tête",
    content(lambda g: swap(g.n1(), '<telecom nullFlavor="UNK"/>', '<telecom nullFlavor="NI"/>')),
    f"CDA-H29 {HERE}",
)
tolerated(
    "related-type",
    "relatedDocument APND",
    lambda g: g.send(swap(g.n1(2, 1), 'typeCode="RPLC"', 'typeCode="APND"')),
    f"CDA-H24-TYPE {HERE}",
)
