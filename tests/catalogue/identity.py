"""What is wrong with PID and PV1."""

from __future__ import annotations

from tests.catalogue.entry import bad
from tests.hl7.messages import copy, put

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
bad(
    "identité",
    "pid-5-no-birth-name",
    "PID-5 sans nom de naissance (type L)",
    lambda g: put(g.mdm, "PID^1^5", "TEST-DURAND^CAMILLE^CAMILLE ANDREA^^^^D"),
    "PID5-BIRTH-NAME PID^1^5^1^7 101",
)
bad(
    "identité",
    "pid-3-no-authority",
    "Un identifiant de PID-3 sans autorité",
    lambda g: put(g.mdm, "PID^1^3^2^4", ""),
    "PID3-INCOMPLETE PID^1^3^2^4 101",
)
bad(
    "identité",
    "pid-3-flood",
    "Soixante identifiants en PID-3",
    lambda g: put(
        g.mdm, "PID^1^3", "~".join([copy(g.mdm, "PID").split("|")[3], *["1^^^X&1.2.3&ISO^PI"] * 60])
    ),
    "PID-REPETITIONS PID^1^3^51 198",
)
bad(
    "identité",
    "pid-7-repeated",
    "Deux dates de naissance en PID-7",
    lambda g: put(g.mdm, "PID^1^7", "19841203~19841204"),
    "FIELD-REPEATED PID^1^7^2 198",
)
bad("identité", "pv1-2-absent", "PV1-2 vide", lambda g: put(g.mdm, "PV1^1^2", ""), "PV1-REQUIRED PV1^1^2 101")
bad(
    "identité",
    "pv1-2-value",
    "PV1-2 hors table",
    lambda g: put(g.mdm, "PV1^1^2", "X"),
    "PV12-VALUE PV1^1^2 103",
)
for patient_class in "EIOR":
    bad(
        "identité",
        f"pv1-19-absent-{patient_class}",
        f"PV1-19 vide alors que PV1-2 vaut {patient_class}",
        lambda g, c=patient_class: put(put(g.mdm, "PV1^1^19", ""), "PV1^1^2", c),
        "PV1-REQUIRED PV1^1^19 101",
    )
bad(
    "identité",
    "bad-bytes-in-pid",
    "Octets qui ne sont pas de l'UTF-8 dans PID-5",
    lambda g: g.mdm.replace(b"^CAMILLE^", b"^CAMILL\xc9^", 1),
    "MSG-CHARSET-BYTES PID^1^5 102",
)
bad(
    "identité",
    "latin-said-of-utf-8",
    "Message en UTF-8 annoncé 8859/15",
    lambda g: put(g.mdm, "MSH^1^18", "8859/15"),
    "MSG-MOJIBAKE MSH^1^18 102",
)
bad(
    "identité",
    "utf-8-said-to-be-8859",
    "Message en 8859/15 annoncé UNICODE UTF-8",
    lambda g: g.mdm.decode().encode("iso-8859-15"),
    *(f"MSG-CHARSET-BYTES {p} 102" for p in ("PRT^1^8", *(f"OBX^{n}^3" for n in (2, 4, 5, 6, 8, 10, 11)))),
)
