"""What is wrong with MSH and EVN."""

from __future__ import annotations

from tests.catalogue.entry import bad
from tests.hl7.messages import put

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
    "msh-9-pam",
    "ADT (PAM-FR) qui n'en a que le nom : un MDM sous ADT^A01",
    lambda g: put(
        put(put(g.mdm, "MSH^1^9", "ADT^A01^ADT_A01"), "MSH^1^12", "2.5^FRA^2.11"), "MSH^1^21", "2.11^PAM_FR"
    ),
    "ADT-NO-ZBE - 100",
)
bad(
    "en-tête",
    "msh-9-event",
    "Événement non pris en charge (MDM^T08)",
    lambda g: put(g.mdm, "MSH^1^9", "MDM^T08^MDM_T02"),
    "MSH9-EVENT MSH^1^9^1^2 201",
)
bad(
    "en-tête",
    "msh-9-oru-event",
    "Événement non pris en charge (ORU^R30)",
    lambda g: put(g.oru, "MSH^1^9", "ORU^R30^ORU_R30"),
    "MSH9-EVENT MSH^1^9^1^2 201",
    "MSH9-STRUCTURE MSH^1^9^1^3 200",
)
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
    "MSH21-VALUE MSH^1^21^1^1 103",
    "MSH21-VALUE MSH^1^21^1^2 103",
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
