"""What is wrong with destinations, versions, connectors and circumstances; several faults at once."""

from __future__ import annotations

from fixtures import build
from tests.catalogue.entry import Good, bad, n1_with
from tests.hl7.messages import drop, flag, put

HERE = "OBX^1^5"
PATIENT = build.patient_recipient()

# --- destinations (OBX 2 to 11 are the metadata in their order) ---

bad(
    "routage",
    "no-destination",
    "Aucune destination demandée",
    lambda g: g.send(recipients=(), flags={"DESTDMP": "N"}),
    "ROUTE-NONE OBX^7^5 207/906",
)
bad(
    "routage",
    "masked-to-professionals",
    "Masqué aux professionnels et envoyé à eux",
    lambda g: flag(g.mdm, "MASQUE_PS", "Y"),
    "ROUTE-MASKED-TO-PS OBX^8^5 207/906",
)
bad(
    "routage",
    "invisible-to-patient",
    "Non visible du patient et envoyé à lui",
    lambda g: flag(g.to_patient, "INVISIBLE_PATIENT", "Y"),
    "ROUTE-INVISIBLE-TO-PATIENT OBX^9^5 207/906",
)
bad(
    "routage",
    "outside-the-table",
    "Combinaison hors de la table MSSanté",
    lambda g: flag(g.mdm, "INVISIBLE_REP_LEGAUX", "Y"),
    "ROUTE-TABLE OBX^8^5 207/906",
)
bad(
    "routage",
    "no-professional-address",
    "Envoi aux professionnels sans destinataire",
    lambda g: drop(drop(g.mdm, "PRT", 3), "PRT", 2),
    "ROUTE-NO-PS-ADDRESS OBX^8^5 207/906",
)
bad(
    "routage",
    "no-patient-address",
    "Envoi au patient sans son adresse",
    lambda g: drop(g.to_patient, "PRT", 3),
    "ROUTE-NO-PATIENT-ADDRESS OBX^9^5 207/906",
)
bad(
    "routage",
    "modif-on-submission",
    "MODIF_CONF_CODE hors remplacement",
    lambda g: flag(g.mdm, "MODIF_CONF_CODE", "Y"),
    "ROUTE-MODIF-OUTSIDE-REPLACEMENT OBX^6^5 207/906",
)
bad(
    "routage",
    "patient-address-other",
    "Adresse d'un autre patient",
    lambda g: put(g.to_patient, "PRT^3^15", "^^X.400^290017512345678@patient.mssante.fr"),
    "PATIENT-ADDRESS-INS PRT^3^15^1^4 207/904",
)
bad(
    "routage",
    "patient-in-professional-domain",
    "Patient avec une adresse de professionnel",
    lambda g: put(g.to_patient, "PRT^3^15", "^^X.400^camille@test-hopital.mssante.fr"),
    "PATIENT-ADDRESS-DOMAIN PRT^3^15^1^4 207/906",
    "ROUTE-NO-PATIENT-ADDRESS OBX^9^5 207/906",
)
bad(
    "routage",
    "identity-not-qualified",
    "Envoi au patient sans identité qualifiée",
    lambda g: put(g.to_patient, "PID^1^32", "PROV"),
    "PATIENT-ADDRESS-UNQUALIFIED PRT^3^15^1^4 207/906",
)

# --- versions ---


def replacement(g: Good, version: int, replaces: int, **kwargs: str) -> bytes:
    return g.send(g.n1(version, replaces, **kwargs), "T10")


def v1(g: Good) -> list[bytes]:
    return g.before(g.mdm)


def v2(g: Good) -> list[bytes]:
    return g.before(g.mdm, replacement(g, 2, 1))


def deleted(g: Good) -> list[bytes]:
    return g.before(g.mdm, g.send(event="T04"))


bad(
    "versions",
    "already-transmitted",
    "Le même document, déjà transmis partout",
    lambda g: g.mdm,
    f"EXC-ALREADY-TRANSMITTED {HERE} 207/906",
    before=v1,
)
bad(
    "versions",
    "same-id-other-bytes",
    "Même id, autre contenu",
    lambda g: g.send(g.n1(title="Autre titre")),
    f"CDA-V-SAME-ID {HERE} 207/906",
    before=v1,
)
bad(
    "versions",
    "same-version-other-id",
    "Même setId et même version, autre id",
    lambda g: g.send(g.n1(uid=f"{g.root}.77")),
    f"CDA-V-SAME-VERSION {HERE} 207/900",
    f"CDA-V-NOT-A-REPLACEMENT {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "new-version-as-first",
    "Nouvelle version envoyée en première transmission",
    lambda g: g.send(g.n1(2)),
    f"CDA-V-NOT-A-REPLACEMENT {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "replacement-as-first",
    "Remplacement envoyé en première transmission",
    lambda g: g.send(g.n1(2, 1)),
    f"CDA-V-RPLC-ON-SUBMIT {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "late-version",
    "Version plus ancienne, arrivée tard",
    lambda g: g.mdm,
    f"CDA-V-OBSOLETE {HERE} 207/900",
    before=lambda g: g.before(g.send(g.n1(2))),
)
bad(
    "versions",
    "version-not-greater",
    "Remplacement sans version supérieure",
    lambda g: g.send(g.n1(1, 1, uid=f"{g.root}.8"), "T10"),
    f"CDA-V-SAME-VERSION {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "not-the-latest",
    "Remplacement d'une version déjà remplacée",
    lambda g: replacement(g, 3, 1),
    f"CDA-V-NOT-LATEST {HERE} 207/900",
    before=v2,
)
bad(
    "versions",
    "replaces-itself",
    "Document qui se remplace lui-même",
    lambda g: replacement(g, 2, 2),
    f"CDA-V-SELF {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "other-set",
    "Remplacement d'un document d'un autre setId",
    lambda g: replacement(g, 2, 1, set_id=f"{g.root}.5"),
    f"CDA-V-OTHER-SET {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "other-organisation",
    "Remplacement par une autre structure",
    lambda g: g.send(g.n1(2, 1, finess="1990000028"), "T10", finess="1990000028"),
    f"CDA-V-AUTHOR {HERE} 207/901",
    before=v1,
)
bad(
    "versions",
    "no-related-document",
    "Remplacement sans relatedDocument",
    lambda g: g.send(g.n1(2), "T10", replaced_id=g.uid(1)),
    f"CDA-V03-RPLC {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "txa-13-absent",
    "T10 sans TXA-13",
    lambda g: put(replacement(g, 2, 1), "TXA^1^13", ""),
    "TXA-REQUIRED TXA^1^13 101",
    before=v1,
)
bad(
    "versions",
    "txa-13-other",
    "TXA-13 autre que relatedDocument",
    lambda g: put(replacement(g, 2, 1), "TXA^1^13", "1.2.250.1.999.9"),
    "CDA-V03-PARENT TXA^1^13 207/900",
    before=v1,
)
bad(
    "versions",
    "deleted-again",
    "Suppression d'un document déjà supprimé",
    lambda g: g.send(event="T04"),
    f"CDA-V-DELETED {HERE} 207/900",
    before=deleted,
)
bad(
    "versions",
    "sent-after-deletion",
    "Document supprimé, envoyé de nouveau",
    lambda g: g.mdm,
    f"CDA-V-DELETED {HERE} 207/900",
    before=deleted,
)
bad(
    "versions",
    "replaces-a-deleted",
    "Remplacement d'un document supprimé",
    lambda g: replacement(g, 2, 1),
    f"CDA-V-PARENT-DELETED {HERE} 207/900",
    before=deleted,
)
bad(
    "versions",
    "deletes-an-old-version",
    "Suppression d'une version déjà remplacée",
    lambda g: g.send(event="T04"),
    f"CDA-V-NOT-LATEST {HERE} 207/900",
    before=v2,
)
bad(
    "versions",
    "unknown-predecessor",
    "Remplacement d'un document jamais transmis ici (réglage « refuse »)",
    lambda g: replacement(g, 2, 1),
    f"CDA-V-UNKNOWN-REFUSED {HERE} 207/900",
    world="unknown-refused",
)
bad(
    "versions",
    "unknown-parent-version",
    "Remplacement d'un inconnu, sans version supérieure à celle qu'il nomme",
    lambda g: replacement(g, 2, 1).replace(b"", b""),
    f"CDA-V-UNKNOWN-REFUSED {HERE} 207/900",
    world="unknown-refused",
)
bad(
    "versions",
    "oru-two-documents-one-known",
    "ORU : l'un des deux documents est une version déjà transmise",
    lambda g: g.send_oru(g.n1(uid=f"{g.root}.77"), g.n3()),
    f"CDA-V-SAME-VERSION {HERE} 207/900",
    f"CDA-V-NOT-A-REPLACEMENT {HERE} 207/900",
    before=v1,
)

# --- connectors (real ones: what they say before anything is sent) ---

bad(
    "connecteurs",
    "dmp-confidentiality",
    "Confidentialité V vers le DMP",
    lambda g: g.send(g.n1(confidentiality="V")),
    "DMP-CONFIDENTIALITY OBX^1 207/906",
)
bad(
    "connecteurs",
    "dmp-title",
    "Titre de plus de 128 caractères vers le DMP",
    lambda g: g.send(g.n1(title="T" * 129)),
    "DMP-TITLE OBX^1 207/906",
)
bad(
    "connecteurs",
    "dmp-other-structure",
    "Structure émettrice hors du certificat",
    lambda g: g.send(g.n1(finess="1990000028"), finess="1990000028"),
    "DMP-STRUCTURE PRT^1 207/906",
)
bad(
    "connecteurs",
    "dmp-author",
    "Structure émettrice qui n'est pas celle d'un auteur",
    lambda g: g.send(g.n1(finess="1990000028")),
    "DMP-AUTHOR OBX^1 207/901",
)
bad(
    "connecteurs",
    "dmp-secret",
    "Connexion secrète non configurée",
    lambda g: g.send(recipients=(), flags={"CONNEXION_SECRETE": "Y"}),
    "DMP-SECRET OBX^5^5 207/906",
)
bad(
    "connecteurs",
    "mss-unlisted-domain",
    "Domaine hors de la liste blanche MSSanté",
    lambda g: g.send(recipients=("dr.martin@inconnu.mssante.fr",)),
    "MSS-DOMAIN-UNLISTED PRT^2^15^^4 207/906",
)
bad(
    "connecteurs",
    "dmp-and-mss",
    "Un refus de chaque connecteur : une seule réponse avec les deux",
    lambda g: g.send(g.n1(title="T" * 129), recipients=("dr.martin@inconnu.mssante.fr",)),
    "DMP-TITLE OBX^1 207/906",
    "MSS-DOMAIN-UNLISTED PRT^2^15^1^4 207/906",
)

# --- circumstances: AR, the message may be sent again ---

bad(
    "circonstance",
    "unavailable",
    "Service indisponible avant l'envoi",
    lambda g: g.mdm,
    "EXC-UNAVAILABLE - 207/906",
    code="AR",
    world="unavailable",
)
bad(
    "circonstance",
    "late",
    "Vérification préalable hors délai",
    lambda g: g.mdm,
    "EXC-DEADLINE - 207/906",
    code="AR",
    world="late",
)
bad(
    "circonstance",
    "bug",
    "Erreur interne",
    lambda g: g.mdm,
    "EXC-INTERNAL - 207/906",
    code="AR",
    world="broken",
)
bad(
    "circonstance",
    "disk-full",
    "Journal plein",
    lambda g: g.mdm,
    "EXC-JOURNAL - 207/906",
    code="AR",
    world="full",
)
bad(
    "circonstance",
    "no-connector",
    "Destinations non configurées sur la passerelle",
    lambda g: g.mdm,
    "EXC-NO-CONNECTOR - 207/906",
    "EXC-NO-CONNECTOR - 207/906",
    world="alone",
)
bad(
    "circonstance",
    "wrong-while-unavailable",
    "Message erroné pendant une indisponibilité : AE, pas AR",
    lambda g: put(g.mdm, "ORC^1^1", "CA"),
    "ACTION-DISAGREES ORC^1^1 207/906",
    world="unavailable",
)

# --- several at once ---


def five(g: Good) -> bytes:
    raw = n1_with("<title>", "<title/><title>")(g)
    raw = put(put(put(raw, "MSH^1^17", ""), "PID^1^8", "Q"), "OBX^3^5^1^1", "O")
    return put(raw, "PV1^1^19", "")


FIVE = (
    "MSH17-ABSENT MSH^1^17 101",
    "PID8-VALUE PID^1^8 103",
    "META-VALUE OBX^3^5^1^1 103",
    "PV1-REQUIRED PV1^1^19 101",
    f"CDA-H10 {HERE} 207/906",
)
bad("plusieurs", "five-at-once", "Cinq fautes : cinq ERR", five, *FIVE)
bad(
    "plusieurs",
    "profile-and-versions",
    "Une faute du message et une de version",
    lambda g: put(g.send(g.n1(title="Autre")), "MSH^1^17", ""),
    "MSH17-ABSENT MSH^1^17 101",
    f"CDA-V-SAME-ID {HERE} 207/906",
    before=v1,
)
bad(
    "plusieurs",
    "both-documents",
    "ORU : une faute dans chaque document",
    lambda g: g.send_oru(g.n1(title=""), g.n3(confidentiality="X")),
    f"CDA-H10 {HERE} 207/906",
    "CDA-H12 OBX^2^5 207/906",
)
bad(
    "plusieurs",
    "basic-err",
    "Sans les champs ERR-5, 7 et 8 (réglage)",
    lambda g: put(put(g.mdm, "MSH^1^17", ""), "PV1^1^2", "X"),
    "- MSH^1^17 101",
    "- PV1^1^2 103",
    world="basic-err",
)
bad(
    "plusieurs",
    "all-metadata-absent",
    "Les dix métadonnées absentes",
    lambda g: g.mdm[: g.mdm.index(b"OBX|2|")],
    *(f"META-MISSING OBX^1 101 {c}" for c in build.METADATA),
)

# --- the same in interop: what is forgiven there, and what is not ---

for identifier, what, make, error in (
    (
        "interop-masked",
        "Masqué aux professionnels et envoyé à eux",
        lambda g: flag(g.mdm, "MASQUE_PS", "Y"),
        "ROUTE-MASKED-TO-PS OBX^8^5 207/906",
    ),
    (
        "interop-doctype",
        "DOCTYPE",
        n1_with("<ClinicalDocument ", "<!DOCTYPE x><ClinicalDocument "),
        f"CDA-DOCTYPE {HERE} 102",
    ),
    (
        "interop-ins",
        "INS différentes",
        lambda g: g.send(g.n1(patient=build.Patient(ins="290017512345661"))),
        f"CDA-M01-INS {HERE} 207/904",
    ),
    (
        "interop-action",
        "T02 avec ORC-1 = CA",
        lambda g: put(g.mdm, "ORC^1^1", "CA"),
        "ACTION-DISAGREES ORC^1^1 207/906",
    ),
    (
        "interop-meta",
        "Métadonnée sans valeur",
        lambda g: put(g.mdm, "OBX^2^5", ""),
        "META-VALUE OBX^2^5^1^1 103",
    ),
):
    bad("tolérances", identifier, f"{what} : refusé aussi en interop", make, error, world="interop")
