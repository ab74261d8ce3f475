"""What is wrong with destinations; what connectors and circumstances answer; several faults at once."""

from __future__ import annotations

from fixtures import build
from tests.catalogue.entry import Good, bad, n1_with
from tests.catalogue.versions import v1
from tests.hl7.messages import drop, flag, put

HERE = "OBX^1^5"
PATIENT = build.patient_recipient()

# --- destinations (OBX 2 to 11 are the metadata in their order) ---

bad(
    "routage",
    "no-destination",
    "Aucune destination demandée",
    lambda g: g.send(recipients=(), flags={"DESTDMP": "N"}),
    "ROUTE-NONE OBX^7^5^1^1 207/906",
)
bad(
    "routage",
    "masked-to-professionals",
    "Masqué aux professionnels et envoyé à eux",
    lambda g: flag(g.mdm, "MASQUE_PS", "Y"),
    "ROUTE-MASKED-TO-PS OBX^8^5^1^1 207/906",
)
bad(
    "routage",
    "invisible-to-patient",
    "Non visible du patient et envoyé à lui",
    lambda g: flag(g.to_patient, "INVISIBLE_PATIENT", "Y"),
    "ROUTE-INVISIBLE-TO-PATIENT OBX^9^5^1^1 207/906",
)
bad(
    "routage",
    "outside-the-table",
    "Combinaison hors de la table MSSanté",
    lambda g: flag(g.mdm, "INVISIBLE_REP_LEGAUX", "Y"),
    "ROUTE-TABLE OBX^8^5^1^1 207/906",
)
bad(
    "routage",
    "no-professional-address",
    "Envoi aux professionnels sans destinataire",
    lambda g: drop(drop(g.mdm, "PRT", 3), "PRT", 2),
    "ROUTE-NO-PS-ADDRESS OBX^8^5^1^1 207/906",
)
bad(
    "routage",
    "no-patient-address",
    "Envoi au patient sans son adresse",
    lambda g: drop(g.to_patient, "PRT", 3),
    "ROUTE-NO-PATIENT-ADDRESS OBX^9^5^1^1 207/906",
)
bad(
    "routage",
    "modif-on-submission",
    "MODIF_CONF_CODE hors remplacement",
    lambda g: flag(g.mdm, "MODIF_CONF_CODE", "Y"),
    "ROUTE-MODIF-OUTSIDE-REPLACEMENT OBX^6^5^1^1 207/906",
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
    "ROUTE-NO-PATIENT-ADDRESS OBX^9^5^1^1 207/906",
)
bad(
    "routage",
    "identity-not-qualified",
    "Envoi au patient sans identité qualifiée",
    lambda g: put(g.to_patient, "PID^1^32", "PROV"),
    "PATIENT-ADDRESS-UNQUALIFIED PID^1^32 207/906",
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
    "DMP-SECRET - 207/906",
)
bad(
    "connecteurs",
    "mss-unlisted-domain",
    "Domaine hors de la liste blanche MSSanté",
    lambda g: g.send(recipients=("dr.martin@inconnu.mssante.fr",)),
    "MSS-DOMAIN-UNLISTED PRT^2^15^1^4 207/906",
)
bad(
    "connecteurs",
    "dmp-and-mss",
    "Un refus de chaque connecteur : une seule réponse avec les deux",
    lambda g: g.send(g.n1(title="T" * 129), recipients=("dr.martin@inconnu.mssante.fr",)),
    "DMP-TITLE OBX^1 207/906",
    "MSS-DOMAIN-UNLISTED PRT^2^15^1^4 207/906",
)

bad(
    "connecteurs",
    "interop-title",
    "title absent, en interop : les métadonnées XDS le demandent",
    n1_with("<title>Compte rendu d'examens biologiques</title>", ""),
    "DMP-METADATA OBX^1 207/906",
    "MSS-METADATA OBX^1^5 207/906",
    world="interop",
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
    lambda g: put(g.mdm, "PV1^1^3", "X" * 60_000),
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
    "Sans les champs ERR-5, 7 et 8",
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
    *(f"META-MISSING OBX^2 101 {c}" for c in build.METADATA),
)

# --- the same in interop: what is forgiven there, and what is not ---

for identifier, what, make, error in (
    (
        "interop-masked",
        "Masqué aux professionnels et envoyé à eux",
        lambda g: flag(g.mdm, "MASQUE_PS", "Y"),
        "ROUTE-MASKED-TO-PS OBX^8^5^1^1 207/906",
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
        "META-VALUE OBX^2^5 103",
    ),
):
    bad("tolérances", identifier, f"{what} : refusé aussi en interop", make, error, world="interop")

# --- what the connectors refuse, again ---

bad(
    "connecteurs",
    "dmp-type",
    "Type de document que le DMP ne prend pas",
    lambda g: g.send(g.n1(type_code="29274-8", type_label="Mesure de signes vitaux")),
    "CDA-H09-J66 OBX^1^5 103",
)
bad(
    "connecteurs",
    "dmp-sender-without-person",
    "Émetteur sans personne ni équipement",
    lambda g: put(g.mdm, "PRT^1^5", ""),
    "SB-INCOMPLETE PRT^1^5 101",
)
