"""What is wrong with segments and fields of the message: structure, MSH, EVN, PID, PV1, ORC, OBR, TXA, OBX, PRT."""

from __future__ import annotations

from fixtures import build
from tests.catalogue.entry import Good, b64, bad, with_data
from tests.hl7.messages import add, copy, drop, flag, put

HERE = "^^X.400^dr.martin@test-hopital.mssante.fr"
ELSEWHERE = "^^X.400^dr.autre@test-hopital.mssante.fr"


def without_patient_class(g: Good) -> bytes:
    return put(g.mdm, "PV1^1^2", "")


# --- structure --------------------------------------------------------------------------------------------------------

for name in ("EVN", "PID", "PV1", "ORC"):
    bad(
        "message",
        f"{name.lower()}-absent",
        f"Segment {name} absent",
        lambda g, n=name: drop(g.mdm, n),
        f"SEG-MISSING {name}^1 100",
    )
bad("message", "obr-absent", "Segment OBR absent", lambda g: drop(g.mdm, "OBR"), "SEG-MISSING OBR^1 100")
bad(
    "message", "txa-absent", "Segment TXA absent (MDM)", lambda g: drop(g.mdm, "TXA"), "SEG-MISSING TXA^1 100"
)
bad(
    "message",
    "oru-pid-absent",
    "Segment PID absent (ORU)",
    lambda g: drop(g.oru, "PID"),
    "SEG-MISSING PID^1 100",
)
bad(
    "message", "no-obx", "Aucun segment OBX", lambda g: g.mdm[: g.mdm.index(b"OBX|")], "SEG-MISSING OBX^1 100"
)
bad("message", "pid-after-pv1", "PID après PV1", lambda g: add(drop(g.mdm, "PID"), "PV1", copy(g.mdm, "PID")), "SEG-ORDER PV1^1 100", "SEG-ORDER PID^1 100", "SEG-ORDER ORC^1 100")  # fmt: skip
bad("message", "orc-at-the-end", "ORC à la fin du message", lambda g: drop(g.mdm, "ORC") + copy(g.mdm, "ORC").encode() + b"\r", "SEG-ORDER OBR^1 100", "SEG-ORDER ORC^1 100")  # fmt: skip
bad(
    "message",
    "two-pid",
    "Deux segments PID",
    lambda g: add(g.mdm, "PID", copy(g.mdm, "PID")),
    "SEG-REPEATED PID^2 198",
)
bad(
    "message",
    "two-txa",
    "Deux segments TXA",
    lambda g: add(g.mdm, "TXA", copy(g.mdm, "TXA")),
    "SEG-REPEATED TXA^2 198",
)
bad("message", "two-orders", "Deux demandes (ORC, OBR) dans un MDM", lambda g: add(add(g.mdm, "OBR", copy(g.mdm, "OBR")), "OBR", copy(g.mdm, "ORC")), "SEG-REPEATED ORC^2 198", "SEG-REPEATED OBR^2 198")  # fmt: skip
bad("message", "two-messages-in-a-frame", "Deux messages dans un même bloc MLLP", lambda g: g.oru + g.oru, "SEG-REPEATED MSH^2 198")  # fmt: skip
bad("message", "stray-line", "Retour à la ligne à l'intérieur d'un champ", lambda g: g.mdm.replace(b"BIOCHIMIE", b"BIO\rCHIMIE"), "MSG-STRAY-LINE PV1^1 100", "PV1-REQUIRED PV1^1^19 101")  # fmt: skip
bad("message", "lower-case-segment", "Nom de segment en minuscules", lambda g: g.mdm.replace(b"\rPV1|", b"\rpv1|"), "SEG-MISSING PV1^1 100", "MSG-STRAY-LINE PID^1 100")  # fmt: skip
bad(
    "message",
    "two-documents-in-mdm",
    "Deux documents dans un MDM",
    lambda g: add(g.mdm, "PRT", copy(g.mdm, "OBX"), 3),
    "DOC-COUNT OBX^2 198",
)
bad("message", "three-documents-in-oru", "Trois documents dans un ORU", lambda g: add(g.send_oru(g.n1(), g.n3()), "OBX", copy(g.oru, "OBX"), 2), "DOC-COUNT OBX^3 198")  # fmt: skip
bad("message", "no-document", "Des métadonnées mais aucun document", lambda g: drop(drop(drop(drop(g.mdm, "OBX"), "PRT"), "PRT"), "PRT"), "DOC-COUNT OBX^1 198", "ROUTE-NO-PS-ADDRESS OBX^7^5 207/906")  # fmt: skip

# --- MSH, EVN ---------------------------------------------------------------------------------------------------------

for field in (3, 4, 5, 6, 7, 11):
    bad(
        "en-tête",
        f"msh-{field}-absent",
        f"MSH-{field} vide",
        lambda g, f=field: put(g.mdm, f"MSH^1^{f}", ""),
        f"MSH-REQUIRED MSH^1^{field} 101",
    )
bad(
    "en-tête",
    "msh-12-absent",
    "MSH-12 vide",
    lambda g: put(g.mdm, "MSH^1^12", ""),
    "MSH-REQUIRED MSH^1^12 101",
)
bad(
    "en-tête",
    "msh-10-null",
    'MSH-10 nul (« "" »)',
    lambda g: put(g.mdm, "MSH^1^10", '""'),
    "MSH-REQUIRED MSH^1^10 101",
    acknowledged="",
)
bad("en-tête", "msh-9-absent", "MSH-9 vide", lambda g: put(g.mdm, "MSH^1^9", ""), "MSH-REQUIRED MSH^1^9 101")
bad(
    "en-tête",
    "msh-9-adt",
    "Type de message non pris en charge (SIU)",
    lambda g: put(g.mdm, "MSH^1^9", "SIU^S12^SIU_S12"),
    "MSH9-TYPE MSH^1^9^1^1 200",
)
bad(
    "en-tête",
    "msh-9-event",
    "Événement non pris en charge (MDM^T08)",
    lambda g: put(g.mdm, "MSH^1^9", "MDM^T08^MDM_T02"),
    "MSH9-EVENT MSH^1^9^1^2 201",
)
bad("en-tête", "msh-9-oru-event", "Événement non pris en charge (ORU^R30)", lambda g: put(g.oru, "MSH^1^9", "ORU^R30^ORU_R30"), "MSH9-EVENT MSH^1^9^1^2 201", "MSH9-STRUCTURE MSH^1^9^1^3 200")  # fmt: skip
bad(
    "en-tête",
    "msh-9-structure",
    "Structure de MSH-9.3 erronée",
    lambda g: put(g.mdm, "MSH^1^9", "MDM^T02^MDM_T01"),
    "MSH9-STRUCTURE MSH^1^9^1^3 200",
)
bad(
    "en-tête",
    "msh-9-lower-case",
    "MSH-9 en minuscules",
    lambda g: put(g.mdm, "MSH^1^9", "mdm^t02^mdm_t02"),
    "MSH9-TYPE MSH^1^9^1^1 200",
)
bad(
    "en-tête",
    "msh-11-value",
    "MSH-11 hors table (X)",
    lambda g: put(g.mdm, "MSH^1^11", "X"),
    "MSH11-PROCESSING MSH^1^11 202",
)
bad(
    "en-tête",
    "msh-12-old",
    "Version HL7 non prise en charge (2.3)",
    lambda g: put(g.mdm, "MSH^1^12", "2.3"),
    "MSH12-VERSION MSH^1^12 203",
)
bad(
    "en-tête",
    "msh-12-other",
    "MDM en version 2.5 au lieu de 2.6",
    lambda g: put(g.mdm, "MSH^1^12", "2.5"),
    "MSH12-OTHER-VERSION MSH^1^12 203",
)
bad(
    "en-tête",
    "msh-17-absent",
    "MSH-17 vide",
    lambda g: put(g.mdm, "MSH^1^17", ""),
    "MSH17-ABSENT MSH^1^17 101",
)
bad(
    "en-tête",
    "msh-17-value",
    "MSH-17 autre que FRA",
    lambda g: put(g.mdm, "MSH^1^17", "BEL"),
    "MSH17-VALUE MSH^1^17 103",
)
bad(
    "en-tête",
    "msh-18-absent",
    "MSH-18 vide",
    lambda g: put(g.mdm, "MSH^1^18", ""),
    "MSH18-ABSENT MSH^1^18 101",
)
bad(
    "en-tête",
    "msh-18-value",
    "MSH-18 lisible mais hors profil (ASCII)",
    lambda g: put(g.mdm, "MSH^1^18", "UTF-8"),
    "MSH18-VALUE MSH^1^18 103",
)
bad(
    "en-tête",
    "msh-18-unknown",
    "Jeu de caractères inconnu en MSH-18",
    lambda g: put(g.mdm, "MSH^1^18", "BIG-5"),
    "MSH18-UNREADABLE MSH^1^18 103",
)
bad(
    "en-tête",
    "msh-21-absent",
    "MSH-21 vide",
    lambda g: put(g.mdm, "MSH^1^21", ""),
    "MSH21-ABSENT MSH^1^21 101",
)
bad(
    "en-tête",
    "msh-21-value",
    "MSH-21 d'un autre profil",
    lambda g: put(g.mdm, "MSH^1^21", "1.1^CISIS_CDA_HL7_LPS"),
    "MSH21-VALUE MSH^1^21 103",
)
bad(
    "en-tête",
    "msh-2-truncation",
    "MSH-2 avec un cinquième caractère",
    lambda g: g.mdm.replace(b"^~\\&|", b"^~\\&#|", 1),
    "MSH2-SEPARATORS MSH^1^2 102",
)
bad("en-tête", "evn-2-absent", "EVN-2 vide", lambda g: put(g.mdm, "EVN^1^2", ""), "EVN2-ABSENT EVN^1^2 101")
bad(
    "en-tête",
    "control-character-in-msh",
    "Caractère de contrôle dans MSH",
    lambda g: put(g.mdm, "MSH^1^3", "SIL\x02ESSAI"),
    "EXC-UNREADABLE MSH^1 199",
)

# --- PID, PV1 ---------------------------------------------------------------------------------------------------------

bad("identité", "pid-5-absent", "PID-5 vide", lambda g: put(g.mdm, "PID^1^5", ""), "PID-REQUIRED PID^1^5 101")
bad("identité", "pid-7-absent", "PID-7 vide", lambda g: put(g.mdm, "PID^1^7", ""), "PID-REQUIRED PID^1^7 101")
bad(
    "identité",
    "pid-7-null",
    'PID-7 nul (« "" »)',
    lambda g: put(g.mdm, "PID^1^7", '""'),
    "PID-REQUIRED PID^1^7 101",
)
bad("identité", "pid-8-absent", "PID-8 vide", lambda g: put(g.mdm, "PID^1^8", ""), "PID-REQUIRED PID^1^8 101")
bad(
    "identité",
    "pid-8-value",
    "PID-8 hors table",
    lambda g: put(g.mdm, "PID^1^8", "H"),
    "PID8-VALUE PID^1^8 103",
)
bad(
    "identité",
    "pid-7-form",
    "PID-7 au format français (jj/mm/aaaa)",
    lambda g: put(g.mdm, "PID^1^7", "03/12/1984"),
    "PID7-FORM PID^1^7 102",
)
bad("identité", "pid-5-no-birth-name", "PID-5 sans nom de naissance (type L)", lambda g: put(g.mdm, "PID^1^5", "TEST-DURAND^CAMILLE^CAMILLE ANDREA^^^^D"), "PID5-BIRTH-NAME PID^1^5 101")  # fmt: skip
bad(
    "identité",
    "pid-3-no-authority",
    "Un identifiant de PID-3 sans autorité",
    lambda g: put(g.mdm, "PID^1^3^2^4", ""),
    "PID3-INCOMPLETE PID^1^3^2 101",
)
bad("identité", "pid-3-flood", "Soixante identifiants en PID-3", lambda g: put(g.mdm, "PID^1^3", "~".join([copy(g.mdm, "PID").split("|")[3], *["1^^^X&1.2.3&ISO^PI"] * 60])), "PID-REPETITIONS PID^1^3 198")  # fmt: skip
bad(
    "identité",
    "pid-7-repeated",
    "Deux dates de naissance en PID-7",
    lambda g: put(g.mdm, "PID^1^7", "19841203~19841204"),
    "FIELD-REPEATED PID^1^7^2 198",
)
bad("identité", "pv1-2-absent", "PV1-2 vide", without_patient_class, "PV1-REQUIRED PV1^1^2 101")
bad(
    "identité",
    "pv1-2-value",
    "PV1-2 hors table",
    lambda g: put(g.mdm, "PV1^1^2", "X"),
    "PV12-VALUE PV1^1^2 103",
)
for patient_class in "EIOR":
    bad("identité", f"pv1-19-absent-{patient_class}", f"PV1-19 vide alors que PV1-2 vaut {patient_class}", lambda g, c=patient_class: put(put(g.mdm, "PV1^1^19", ""), "PV1^1^2", c), "PV1-REQUIRED PV1^1^19 101")  # fmt: skip
bad("identité", "bad-bytes-in-pid", "Octets qui ne sont pas de l'UTF-8 dans PID-5", lambda g: g.mdm.replace(b"^CAMILLE^", b"^CAMILL\xc9^", 1), "MSG-CHARSET-BYTES PID^1^5 102")  # fmt: skip
bad("identité", "utf-8-said-to-be-8859", "Message en 8859/15 annoncé UNICODE UTF-8", lambda g: g.mdm.decode().encode("iso-8859-15"), *(f"MSG-CHARSET-BYTES {p} 102" for p in ("PRT^1^8", *(f"OBX^{n}^3" for n in (2, 4, 5, 6, 8, 10, 11)))))  # fmt: skip

# --- ORC, OBR, TXA ------------------------------------------------------------------------------------------------------

bad("message", "orc-1-absent", "ORC-1 vide", lambda g: put(g.mdm, "ORC^1^1", ""), "ORC1-REQUIRED ORC^1^1 101")
bad(
    "message",
    "orc-1-value",
    "ORC-1 hors table (XO)",
    lambda g: put(g.mdm, "ORC^1^1", "XO"),
    "ORC1-VALUE ORC^1^1 103",
)
bad(
    "message",
    "orc-1-repeated",
    "Deux ordres en ORC-1 (NW et CA)",
    lambda g: put(g.mdm, "ORC^1^1", "NW~CA"),
    "FIELD-REPEATED ORC^1^1^2 198",
)
bad(
    "message",
    "orc-1-disagrees",
    "T02 avec ORC-1 = CA",
    lambda g: put(g.mdm, "ORC^1^1", "CA"),
    "ACTION-DISAGREES ORC^1^1 207/906",
)
bad(
    "message",
    "obx-11-disagrees",
    "T02 avec OBX-11 = D",
    lambda g: put(g.mdm, "OBX^1^11", "D"),
    "ACTION-DISAGREES OBX^1^11 207/906",
)
bad("message", "deletion-in-disguise", "T04 avec ORC-1 = NW et OBX-11 = F", lambda g: g.send(event="T04", order_control="NW", status="F"), "ACTION-DISAGREES ORC^1^1 207/906", "ACTION-DISAGREES OBX^1^11 207/906")  # fmt: skip
bad(
    "message",
    "oru-disagrees",
    "ORU : ORC-1 = RO et OBX-11 = F",
    lambda g: g.send_oru(order_control="RO"),
    "ACTION-DISAGREES ORC^1^1 207/906",
)
bad(
    "message",
    "oru-two-statuses",
    "ORU : un document F, l'autre D",
    lambda g: put(g.send_oru(g.n1(), g.n3()), "OBX^2^11", "D"),
    "ACTION-DISAGREES OBX^2^11 207/906",
)
bad("message", "obr-4-absent", "OBR-4 vide", lambda g: put(g.mdm, "OBR^1^4", ""), "OBR4-REQUIRED OBR^1^4 101")
bad(
    "message",
    "obr-4-system",
    "OBR-4.3 : nomenclature inconnue",
    lambda g: put(g.mdm, "OBR^1^4^1^3", "LOCAL"),
    "OBR4-SYSTEM OBR^1^4^1^3 103",
)
bad(
    "message",
    "txa-2-other-type",
    "TXA-2 autre que OBR-4",
    lambda g: put(g.mdm, "TXA^1^2", "11488-4"),
    "TYPE-DISAGREES TXA^1^2 207/906",
)
bad(
    "message",
    "obx-3-other-type",
    "OBX-3 autre que OBR-4",
    lambda g: put(g.mdm, "OBX^1^3^1^1", "11488-4"),
    "TYPE-DISAGREES OBX^1^3 207/906",
)
for field in (1, 2, 3, 12, 17):
    bad(
        "message",
        f"txa-{field}-absent",
        f"TXA-{field} vide",
        lambda g, f=field: put(g.mdm, f"TXA^1^{f}", ""),
        f"TXA-REQUIRED TXA^1^{field} 101",
    )
bad(
    "message",
    "txa-3-value",
    "TXA-3 autre que TEXT",
    lambda g: put(g.mdm, "TXA^1^3", "AP"),
    "TXA-VALUE TXA^1^3 103",
)
bad(
    "message",
    "txa-17-value",
    "TXA-17 autre que AU",
    lambda g: put(g.mdm, "TXA^1^17", "LA"),
    "TXA-VALUE TXA^1^17 103",
)
bad(
    "message",
    "txa-12-form",
    "TXA-12 qui n'est pas un OID",
    lambda g: put(g.mdm, "TXA^1^12", "DOC-42"),
    "TXA-ID-FORM TXA^1^12 102",
)
bad(
    "message",
    "txa-12-repeated",
    "Deux identifiants en TXA-12",
    lambda g: put(g.mdm, "TXA^1^12", f"{g.uid()}~1.2.3"),
    "FIELD-REPEATED TXA^1^12^2 198",
)

# --- OBX of the document ------------------------------------------------------------------------------------------------

bad(
    "message",
    "obx-2-type",
    "OBX-2 du document autre que ED",
    lambda g: put(g.mdm, "OBX^1^2", "TX"),
    "OBX2-DOCUMENT OBX^1^2 102",
)
bad(
    "message",
    "obx-5-form",
    "OBX-5.4 : encodage Hex annoncé",
    lambda g: g.mdm.replace(b"^XML^Base64^", b"^XML^Hex^", 1),
    "OBX5-FORM OBX^1^5^1^4 102",
)
bad(
    "message",
    "obx-5-pdf",
    "OBX-5.3 : PDF annoncé",
    lambda g: g.mdm.replace(b"^XML^Base64^", b"^PDF^Base64^", 1),
    "OBX5-FORM OBX^1^5^1^3 102",
)
bad("message", "obx-5-empty", "OBX-5.5 vide", lambda g: with_data(g.mdm, b""), "OBX5-EMPTY OBX^1^5^1^5 101")
bad(
    "message",
    "obx-5-repeated",
    "OBX-5 répété",
    lambda g: with_data(g.mdm, b64(g.n1()) + b"~^TEXT^XML^Base64^" + b64(g.n1())),
    "OBX5-REPEATED OBX^1^5 198",
)
bad(
    "message",
    "obx-5-component-after",
    "Une composante après le document (OBX-5.6)",
    lambda g: with_data(g.mdm, b64(g.n1()) + b"^QUJD"),
    "OBX5-FORM OBX^1^5^1^6 102",
)
bad(
    "message",
    "obx-11-value",
    "OBX-11 du document hors table (P)",
    lambda g: put(g.mdm, "OBX^1^11", "P"),
    "OBX11-DOCUMENT OBX^1^11 103",
)
bad(
    "message",
    "obx-unknown",
    "Un OBX qui n'est ni document ni métadonnée",
    lambda g: add(g.mdm, "OBX", "OBX|13|NM|718-7^Hb^LN||14|||||||F", 12),
    "OBX-UNKNOWN OBX^13^3 103",
)

# --- PRT ----------------------------------------------------------------------------------------------------------------

bad("message", "prt-at-the-end", "PRT après les métadonnées", lambda g: g.mdm + copy(g.mdm, "PRT", 3).replace("bernard", "autre").encode() + b"\r", "PRT-PLACE PRT^4 100")  # fmt: skip
bad(
    "message",
    "prt-4-role",
    "PRT-4.1 inconnu",
    lambda g: put(g.mdm, "PRT^3^4^1^1", "CC"),
    "PRT4-ROLE PRT^3^4^1^1 103",
)
bad(
    "message",
    "sb-absent",
    "Émetteur (PRT SB) absent pour le DMP",
    lambda g: drop(g.mdm, "PRT"),
    "SB-REQUIRED OBX^1 101",
)
bad(
    "message",
    "sb-no-organisation",
    "Émetteur sans structure (PRT-8.10)",
    lambda g: put(g.mdm, "PRT^1^8", ""),
    "SB-INCOMPLETE PRT^1 101",
)
bad(
    "message",
    "sb-twice",
    "Deux émetteurs différents",
    lambda g: add(g.mdm, "PRT", copy(g.mdm, "PRT").replace("810100000016", "810100000099")),
    "SB-REPEATED PRT^2 198",
)
bad(
    "message",
    "rct-no-address",
    "Destinataire sans adresse",
    lambda g: put(g.mdm, "PRT^2^15", "^^X.400"),
    "RCT-ADDRESS PRT^2^15^1^4 101",
)
bad(
    "message",
    "rct-two-addresses",
    "Deux adresses MSSanté dans un même PRT",
    lambda g: put(g.mdm, "PRT^2^15", f"{HERE}~{ELSEWHERE}"),
    "RCT-SEVERAL-ADDRESSES PRT^2^15^2 198",
)
bad("message", "rct-address-syntax", "Adresse mal formée (point final)", lambda g: put(g.mdm, "PRT^2^15", "^^X.400^dr.martin@test-hopital.mssante.fr."), "ADDRESS-SYNTAX PRT^2^15^1^4 102")  # fmt: skip
bad("message", "rct-address-injection", "Adresse qui contient une commande SMTP", lambda g: put(g.mdm, "PRT^2^15", "^^X.400^a@b.fr> RCPT TO:<c@d.fr"), "ADDRESS-UNSAFE PRT^2^15^1^4 102")  # fmt: skip
bad(
    "message",
    "rct-two-at",
    "Adresse avec deux @",
    lambda g: put(g.mdm, "PRT^2^15", "^^X.400^a@b@test-hopital.mssante.fr"),
    "ADDRESS-UNSAFE PRT^2^15^1^4 102",
)
bad("message", "reply-no-address", "PRT REPLY sans adresse", lambda g: put(g.send(reply_to=build.SECRETARIAT), "PRT^4^15", "^^X.400"), "REPLY-ADDRESS PRT^4^15^1^4 101")  # fmt: skip

# --- metadata -----------------------------------------------------------------------------------------------------------

for n, code in enumerate(build.METADATA, 2):
    bad(
        "message",
        f"meta-{code.lower()}-absent",
        f"Métadonnée {code} absente",
        lambda g, i=n: drop(g.mdm, "OBX", i),
        f"META-MISSING OBX^1 101 {code}",
    )
bad(
    "message",
    "meta-value",
    "Métadonnée à « O » au lieu de « Y »",
    lambda g: flag(g.mdm, "MASQUE_PS", "O"),
    "META-VALUE OBX^2^5^1^1 103",
)
bad(
    "message",
    "meta-empty",
    "Métadonnée sans valeur",
    lambda g: put(g.mdm, "OBX^2^5", ""),
    "META-VALUE OBX^2^5^1^1 103",
)
bad(
    "message",
    "meta-repeated",
    "Métadonnée donnée deux fois",
    lambda g: add(g.mdm, "OBX", copy(g.mdm, "OBX", 2), 2),
    "META-REPEATED OBX^3^3 198",
)
bad(
    "message",
    "meta-contradiction",
    "Métadonnée Y puis N",
    lambda g: add(flag(g.mdm, "CONNEXION_SECRETE", "N"), "OBX", copy(g.mdm, "OBX", 5), 5),
    "META-REPEATED OBX^6^3 198",
)
bad(
    "message",
    "meta-order",
    "Métadonnées dans le désordre",
    lambda g: add(drop(g.mdm, "OBX", 2), "OBX", copy(g.mdm, "OBX", 2), 2),
    "META-ORDER OBX^3 100",
)
bad("message", "meta-unknown", "Métadonnée inconnue", lambda g: add(g.mdm, "OBX", copy(g.mdm, "OBX", 11).replace("ACK_LECTURE_MSS", "AUTRE_CHOSE"), 11), "META-UNKNOWN OBX^12^3^1^1 103")  # fmt: skip
bad(
    "message",
    "meta-type",
    "OBX-2 d'une métadonnée : ST",
    lambda g: put(g.mdm, "OBX^2^2", "ST"),
    "META-TYPE OBX^2^2 102",
)
bad(
    "message",
    "meta-status",
    "OBX-11 d'une métadonnée : P",
    lambda g: put(g.mdm, "OBX^2^11", "P"),
    "META-STATUS OBX^2^11 103",
)
bad(
    "message",
    "body-form",
    "Corps de courriel sans « Base64 »",
    lambda g: put(g.mdm, "OBX^12^5^1^4", ""),
    "BODY-FORM OBX^12^5 102",
)
bad("message", "body-base64", "Corps de courriel tronqué (longueur impossible)", lambda g: put(g.mdm, "OBX^12^5^1^5", copy(g.mdm, "OBX", 12).split("|")[5].split("^")[4][:93]), "BODY-BASE64 OBX^12^5^1^5 102")  # fmt: skip
bad("message", "body-latin", "Corps de courriel en Latin-1", lambda g: put(g.mdm, "OBX^12^5^1^5", b64("Cher confrère, à bientôt".encode("latin-1")).decode()), "BODY-CHARSET OBX^12^5^1^5 102")  # fmt: skip
bad(
    "message",
    "body-two",
    "Une composante après le corps de courriel",
    lambda g: put(g.mdm, "OBX^12^5^1^6", "QUJD"),
    "BODY-FORM OBX^12^5 102",
)
