"""What is wrong with sender, recipients, metadata and mail bodies."""

from __future__ import annotations

from fixtures import build
from tests.catalogue.entry import b64, bad
from tests.hl7.messages import add, copy, drop, flag, put

HERE = "^^X.400^dr.martin@test-hopital.mssante.fr"
ELSEWHERE = "^^X.400^dr.autre@test-hopital.mssante.fr"

bad(
    "message",
    "prt-at-the-end",
    "PRT après les métadonnées",
    lambda g: g.mdm + copy(g.mdm, "PRT", 3).replace("bernard", "autre").encode() + b"\r",
    "PRT-PLACE PRT^4 100",
)
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
    "SB-INCOMPLETE PRT^1^8 101",
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
bad(
    "message",
    "rct-address-syntax",
    "Adresse mal formée (point final)",
    lambda g: put(g.mdm, "PRT^2^15", "^^X.400^dr.martin@test-hopital.mssante.fr."),
    "ADDRESS-SYNTAX PRT^2^15^1^4 102",
)
bad(
    "message",
    "rct-address-injection",
    "Adresse qui contient une commande SMTP",
    lambda g: put(g.mdm, "PRT^2^15", "^^X.400^a@b.fr> RCPT TO:<c@d.fr"),
    "ADDRESS-UNSAFE PRT^2^15^1^4 102",
)
bad(
    "message",
    "rct-two-at",
    "Adresse avec deux @",
    lambda g: put(g.mdm, "PRT^2^15", "^^X.400^a@b@test-hopital.mssante.fr"),
    "ADDRESS-UNSAFE PRT^2^15^1^4 102",
)
bad(
    "message",
    "reply-no-address",
    "PRT REPLY sans adresse",
    lambda g: put(g.send(reply_to=build.SECRETARIAT), "PRT^4^15", "^^X.400"),
    "REPLY-ADDRESS PRT^4^15^1^4 101",
)

for n, code in enumerate(build.METADATA, 2):
    bad(
        "message",
        f"meta-{code.lower()}-absent",
        f"Métadonnée {code} absente",
        lambda g, i=n: drop(g.mdm, "OBX", i),
        f"META-MISSING OBX^{n} 101 {code}",
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
    "META-VALUE OBX^2^5 103",
)
bad(
    "message",
    "meta-repeated",
    "Métadonnée donnée deux fois",
    lambda g: add(g.mdm, "OBX", copy(g.mdm, "OBX", 2), 2),
    "META-REPEATED OBX^3^3^1^1 198",
)
bad(
    "message",
    "meta-contradiction",
    "Métadonnée Y puis N",
    lambda g: add(flag(g.mdm, "CONNEXION_SECRETE", "N"), "OBX", copy(g.mdm, "OBX", 5), 5),
    "META-REPEATED OBX^6^3^1^1 198",
)
bad(
    "message",
    "meta-order",
    "Métadonnées dans le désordre",
    lambda g: add(drop(g.mdm, "OBX", 2), "OBX", copy(g.mdm, "OBX", 2), 2),
    "META-ORDER OBX^3 100",
)
bad(
    "message",
    "meta-unknown",
    "Métadonnée inconnue",
    lambda g: add(g.mdm, "OBX", copy(g.mdm, "OBX", 11).replace("ACK_LECTURE_MSS", "AUTRE_CHOSE"), 11),
    "META-UNKNOWN OBX^12^3^1^1 103",
)
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
    "BODY-FORM OBX^12^5^1^4 102",
)
bad(
    "message",
    "body-base64",
    "Corps de courriel tronqué (longueur impossible)",
    lambda g: put(g.mdm, "OBX^12^5^1^5", copy(g.mdm, "OBX", 12).split("|")[5].split("^")[4][:93]),
    "BODY-BASE64 OBX^12^5^1^5 102",
)
bad(
    "message",
    "body-latin",
    "Corps de courriel en Latin-1",
    lambda g: put(g.mdm, "OBX^12^5^1^5", b64("Cher confrère, à bientôt".encode("latin-1")).decode()),
    "BODY-CHARSET OBX^12^5^1^5 102",
)
bad(
    "message",
    "body-two",
    "Une composante après le corps de courriel",
    lambda g: put(g.mdm, "OBX^12^5^1^6", "QUJD"),
    "BODY-FORM OBX^12^5^1^6 102",
)
