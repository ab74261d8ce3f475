"""What is wrong with the segments' order and number, with ORC, OBR, TXA and the document's OBX."""

from __future__ import annotations

from tests.catalogue.entry import b64, bad, with_data
from tests.hl7.messages import add, copy, drop, put

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
bad(
    "message",
    "pid-after-pv1",
    "PID après PV1",
    lambda g: add(drop(g.mdm, "PID"), "PV1", copy(g.mdm, "PID")),
    "SEG-ORDER PV1^1 100",
    "SEG-ORDER PID^1 100",
    "SEG-ORDER ORC^1 100",
)
bad(
    "message",
    "orc-at-the-end",
    "ORC à la fin du message",
    lambda g: drop(g.mdm, "ORC") + copy(g.mdm, "ORC").encode() + b"\r",
    "SEG-ORDER OBR^1 100",
    "SEG-ORDER ORC^1 100",
)
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
bad(
    "message",
    "two-orders",
    "Deux demandes (ORC, OBR) dans un MDM",
    lambda g: add(add(g.mdm, "OBR", copy(g.mdm, "OBR")), "OBR", copy(g.mdm, "ORC")),
    "SEG-REPEATED ORC^2 198",
    "SEG-REPEATED OBR^2 198",
)
bad(
    "message",
    "two-messages-in-a-frame",
    "Deux messages dans un même bloc MLLP",
    lambda g: g.oru + g.oru,
    "SEG-REPEATED MSH^2 198",
)
bad(
    "message",
    "stray-line",
    "Retour à la ligne à l'intérieur d'un champ",
    lambda g: g.mdm.replace(b"BIOCHIMIE", b"BIO\rCHIMIE"),
    "MSG-STRAY-LINE PV1^1 100",
    "PV1-REQUIRED PV1^1^19 101",
)
bad(
    "message",
    "lower-case-segment",
    "Nom de segment en minuscules",
    lambda g: g.mdm.replace(b"\rPV1|", b"\rpv1|"),
    "SEG-MISSING PV1^1 100",
    "MSG-STRAY-LINE PID^1 100",
)
bad(
    "message",
    "two-documents-in-mdm",
    "Deux documents dans un MDM",
    lambda g: add(g.mdm, "PRT", copy(g.mdm, "OBX"), 3),
    "DOC-COUNT OBX^2 198",
)
bad(
    "message",
    "three-documents-in-oru",
    "Trois documents dans un ORU",
    lambda g: add(g.send_oru(g.n1(), g.n3()), "OBX", copy(g.oru, "OBX"), 2),
    "DOC-COUNT OBX^3 198",
)
bad(
    "message",
    "no-document",
    "Des métadonnées mais aucun document",
    lambda g: drop(drop(drop(drop(g.mdm, "OBX"), "PRT"), "PRT"), "PRT"),
    "DOC-COUNT OBX^1 198",
    "ROUTE-NO-PS-ADDRESS OBX^7^5^1^1 207/906",
)

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
    "orc-1-sub-component",
    "Deux ordres en ORC-1, séparés par « & »",
    lambda g: put(g.mdm, "ORC^1^1", "NW&CA"),
    "FIELD-SUBCOMPONENT ORC^1^1^1^1 102",
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
bad(
    "message",
    "deletion-in-disguise",
    "T04 avec ORC-1 = NW et OBX-11 = F",
    lambda g: g.send(event="T04", order_control="NW", status="F"),
    "ACTION-DISAGREES ORC^1^1 207/906",
    "ACTION-DISAGREES OBX^1^11 207/906",
)
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
    "TYPE-DISAGREES OBX^1^3^1^1 207/906",
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
    "TXA-ID-FORM TXA^1^12^1^1 102",
)
bad(
    "message",
    "txa-12-repeated",
    "Deux identifiants en TXA-12",
    lambda g: put(g.mdm, "TXA^1^12", f"{g.uid()}~1.2.3"),
    "FIELD-REPEATED TXA^1^12^2 198",
)

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
    "OBX5-REPEATED OBX^1^5^2 198",
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
    "OBX-UNKNOWN OBX^13^3^1^1 103",
)
