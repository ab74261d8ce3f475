"""What is wrong with the patient, the INS, the agreement of message and document, and the body."""

from __future__ import annotations

import dataclasses
import re

from fixtures import build
from tests.catalogue.entry import Good, bad, content, n1_with, swap
from tests.hl7.messages import put

HERE = "OBX^1^5"
PATIENT = build.PATIENT
OTHER_NUMBER = "2900175123456"
OTHER_INS = OTHER_NUMBER + build.ins_key(OTHER_NUMBER)
OTHER = dataclasses.replace(PATIENT, ins=OTHER_INS)


def patient(**changes: str) -> object:
    """A maker: the document's patient differs, the message's does not."""
    return lambda g: g.send(g.n1(patient=dataclasses.replace(PATIENT, **changes)))


def no_ins_in_message(g: Good) -> bytes:
    return put(g.mdm, "PID^1^3", f"{PATIENT.ipp}^^^HOPITAL-ESSAI&{PATIENT.ipp_oid}&ISO^PI")


# --- patient and INS ---

bad(
    "INS",
    "two-patients",
    "Deux recordTarget",
    n1_with("<author>", "<recordTarget/><author>"),
    f"CDA-H16 {HERE} 207/906",
)
bad(
    "INS",
    "two-patient-elements",
    "Deux patient dans recordTarget",
    n1_with("</patientRole>", '<patient classCode="PSN"/></patientRole>'),
    f"CDA-H16 {HERE} 207/906",
)
bad(
    "INS",
    "no-ins-for-dmp",
    "Pas d'INS dans le document, DMP demandé",
    lambda g: g.send(g.n1(with_ins=False)),
    f"CDA-I00-DMP {HERE} 207/903",
)
bad(
    "INS",
    "no-ins-in-message",
    "INS dans le document, pas dans PID-3",
    no_ins_in_message,
    "CDA-M01-INS-MESSAGE PID^1^3 207/904",
)
bad(
    "INS",
    "no-birthplace",
    "INS sans lieu de naissance",
    lambda g: g.send(g.n1(with_birthplace=False)),
    f"CDA-I02 {HERE} 207/905",
)
bad(
    "INS",
    "no-birth-given",
    "INS sans premier prénom de naissance",
    n1_with('<given qualifier="BR">CAMILLE</given>', ""),
    f"CDA-I02 {HERE} 207/905",
)
bad(
    "INS",
    "no-birth-family",
    "INS sans nom de naissance",
    n1_with('<family qualifier="BR">TEST-DURAND</family>', ""),
    f"CDA-I02 {HERE} 207/905",
)
bad(
    "INS",
    "ins-differs",
    "INS du message et du document différentes",
    lambda g: g.send(g.n1(patient=OTHER)),
    f"CDA-M01-INS {HERE} 207/904",
)
bad(
    "INS",
    "ins-other-domain",
    "Même INS, autre domaine d'affectation",
    patient(ins_oid="1.2.250.1.213.1.4.8"),
    f"CDA-M01-INS-OID {HERE} 207/904",
)
bad(
    "INS",
    "test-ins-in-production",
    "INS de test dans un message de production",
    lambda g: g.send(processing_id="P"),
    "PID3-TEST-INS PID^1^3^1^4 207/906",
    f"CDA-I01-DOMAIN {HERE} 207/906",
)
bad(
    "INS",
    "id-without-extension",
    "Identifiant du patient sans extension",
    content(lambda g: swap(g.n1(), "<addr><houseNumber>", '<id root="1.2.3"/><addr><houseNumber>')),
    f"CDA-H16-IDS {HERE} 207/906",
)
bad(
    "INS",
    "gender-absent",
    "Sexe absent du document",
    n1_with(
        '<administrativeGenderCode code="M" displayName="Masculin" codeSystem="2.16.840.1.113883.5.1"/>', ""
    ),
    f"CDA-H18 {HERE} 207/906",
    f"CDA-I02 {HERE} 207/905",
)
bad(
    "INS",
    "birth-impossible",
    "Date de naissance impossible",
    n1_with('<birthTime value="19841203"/>', '<birthTime value="19841303"/>'),
    f"CDA-H18 {HERE} 207/906",
    "CDA-M01-BIRTH PID^1^7 207/904",
)
bad(
    "INS",
    "qualifier",
    "Nom avec un qualifier inconnu",
    n1_with('<family qualifier="CL">', '<family qualifier="XX">'),
    f"CDA-H17-QUALIFIER {HERE} 207/906",
)
bad(
    "INS",
    "religion",
    "Religion dans le document",
    n1_with("<birthTime", '<religiousAffiliationCode code="1"/><birthTime'),
    f"CDA-H19 {HERE} 207/906",
)
bad(
    "INS",
    "mss-ins-absent-for-patient",
    "Envoi au patient sans INS en PID-3",
    lambda g: g.send(g.n1(with_ins=False), recipients=(build.patient_recipient(),)).replace(
        f"|{PATIENT.ins}^^^ASIP-SANTE-INS-NIR&{PATIENT.ins_oid}&ISO^INS~".encode(), b"|", 1
    ),
    "PATIENT-ADDRESS-NO-INS PID^1^3 207/903",
)

# --- coherence ---

bad(
    "cohérence",
    "birth-differs",
    "Dates de naissance différentes",
    patient(birth_date="19841204"),
    "CDA-M01-BIRTH PID^1^7 207/904",
)
bad("cohérence", "sex-differs", "Sexes différents", patient(sex="F"), "CDA-M01-SEX PID^1^8 207/904")
bad(
    "cohérence",
    "family-differs",
    "Noms de naissance différents",
    patient(birth_family="TEST-MARTIN"),
    "CDA-M01-FAMILY PID^1^5 207/904",
)
bad(
    "cohérence",
    "local-id-differs",
    "IPP différents sous la même autorité",
    patient(ipp="8009999"),
    f"CDA-M01-LOCAL-ID {HERE} 207/904",
)
bad(
    "cohérence",
    "nothing-in-common",
    "Aucun identifiant commun",
    lambda g: g.send(
        g.n1(with_ins=False, patient=dataclasses.replace(PATIENT, ipp_oid="1.2.250.1.999.1")),
        recipients=(build.DR_MARTIN,),
        flags={"DESTDMP": "N"},
    ),
    f"CDA-M01-NO-COMMON-ID {HERE} 207/902",
)
bad(
    "cohérence",
    "type-differs",
    "Types du message et du document différents",
    lambda g: g.send(type_code="11488-4^Consultation^LN"),
    "CDA-M01-TYPE OBR^1^4 207/906",
)
bad(
    "cohérence",
    "id-differs",
    "TXA-12 autre que l'id du document",
    lambda g: g.send(document_id="1.2.250.1.999.9"),
    "CDA-M01-ID TXA^1^12 207/906",
)
bad(
    "cohérence",
    "pair-other-patient",
    "ORU : deux documents de deux patients",
    lambda g: g.send_oru(g.n1(), g.n3(patient=OTHER)),
    "CDA-M01-INS OBX^2^5 207/904",
    "CDA-PAIR-PATIENT OBX^2^5 207/904",
)
bad(
    "cohérence",
    "pair-same-id",
    "ORU : deux documents de même id",
    lambda g: g.send_oru(g.n1(), g.n3(uid=g.uid())),
    "CDA-PAIR-ID OBX^2^5 207/906",
)
bad(
    "cohérence",
    "pair-same-set",
    "ORU : deux documents de même setId",
    lambda g: g.send_oru(g.n1(), g.n3(set_id=g.root)),
    "CDA-PAIR-SET OBX^2^5 207/900",
)

# --- body ---

bad(
    "corps",
    "no-body",
    "Ni nonXMLBody ni structuredBody",
    content(lambda g: g.n1().replace(b"nonXMLBody", b"otherBody")),
    f"CDA-H26 {HERE} 207/906",
)
bad(
    "corps",
    "two-bodies",
    "nonXMLBody et structuredBody",
    n1_with("<nonXMLBody>", "<structuredBody/><nonXMLBody>"),
    f"CDA-H26 {HERE} 207/906",
)
bad(
    "corps",
    "two-components",
    "Deux component",
    n1_with("</ClinicalDocument>", "<component/></ClinicalDocument>"),
    f"CDA-H26 {HERE} 207/906",
)
bad(
    "corps",
    "telecom",
    "telecom sans schéma connu",
    content(lambda g: swap(g.n1(), '<telecom nullFlavor="UNK"/>', '<telecom value="0102030405"/>')),
    f"CDA-H27 {HERE} 207/906",
)
bad(
    "corps",
    "unknown-type",
    "Type de document hors JDV_J07",
    lambda g: g.send(g.n1(type_code="52521-2", type_label="Directives anticipées")),
    f"CDA-H09-J07 {HERE} 103",
)
bad(
    "corps",
    "not-a-pdf",
    "Niveau 1 : le contenu annoncé PDF n'en est pas un",
    content(lambda g: g.n1(payload=b"GIF89a" + b"x" * 2000)),
    f"CDA-B04 {HERE} 207/906",
)
bad(
    "corps",
    "empty-n1",
    "Niveau 1 sans contenu",
    content(lambda g: g.n1(payload=b"")),
    f"CDA-B00 {HERE} 207/906",
)
bad(
    "corps",
    "null-n1",
    "Niveau 1 : text en nullFlavor",
    n1_with('<text mediaType="application/pdf"', '<text nullFlavor="UNK" mediaType="application/pdf"'),
    f"CDA-B01 {HERE} 207/906",
)
bad(
    "corps",
    "n1-representation",
    "Niveau 1 : representation autre que B64",
    n1_with('representation="B64"', 'representation="TXT"'),
    f"CDA-B01-B64 {HERE} 207/906",
)
bad(
    "corps",
    "n1-media-type",
    "Niveau 1 : type de média non admis (Word)",
    content(lambda g: g.n1(media_type="application/msword")),
    f"CDA-B01-MEDIA {HERE} 207/906",
)
bad(
    "corps",
    "n3-without-section",
    "Niveau 3 sans section",
    content(
        lambda g: swap(
            swap(g.n1(), "<nonXMLBody>", "<structuredBody><!--"), "</nonXMLBody>", "--></structuredBody>"
        )
    ),
    f"CDA-B00 {HERE} 207/906",
)

bad(
    "INS",
    "no-family",
    "Patient sans nom",
    content(lambda g: re.sub(rb"<family.*?</family>", b"", g.n1(), count=2)),
    f"CDA-H17 {HERE} 207/906",
    f"CDA-I02 {HERE} 207/905",
)
bad(
    "corps",
    "n3-copy-not-a-pdf",
    "Niveau 3 : copie PDF illisible, par MSSanté",
    lambda g: g.send(g.n3(pdf_copy=b"x").replace(b'representation="B64">eA==', b'representation="B64">e===')),
    f"CDA-B10 {HERE} 207/906",
)
