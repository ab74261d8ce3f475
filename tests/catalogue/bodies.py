"""What is wrong with the content of a document (PDF, text, sections), with optional fields and with value sets."""

from __future__ import annotations

from fixtures import build
from tests.catalogue.entry import Good, b64, bad, content, n1_with, swap, tolerated
from tests.hl7.messages import put

HERE = "OBX^1^5"
PDF = build.pdf()

# --- the PDF or text of a level 1 ---


def level_1(identifier: str, what: str, rule: str, **kwargs: object) -> None:
    bad("corps", identifier, what, lambda g: g.send(g.n1(**kwargs)), f"{rule} {HERE} 207/906")


def level_1_tolerated(identifier: str, what: str, rule: str, **kwargs: object) -> None:
    tolerated(identifier, what, lambda g: g.send(g.n1(**kwargs)), f"{rule} {HERE}")


level_1("n1-not-a-pdf", "Niveau 1 : autre chose qu'un PDF", "CDA-B04", payload=b"PK\x03\x04" + b"x" * 400)
level_1(
    "n1-text-is-binary",
    "Niveau 1 : text/plain qui n'est pas du texte",
    "CDA-B07",
    payload=b"\0\xff" * 50,
    media_type="text/plain",
)
level_1(
    "n1-jpeg-is-a-pdf", "Niveau 1 : PDF annoncé image/jpeg", "CDA-B08", payload=PDF, media_type="image/jpeg"
)
level_1("n1-b64-of-b64", "Niveau 1 : PDF encodé deux fois en base64", "CDA-B09", payload=b64(PDF))
level_1_tolerated("n1-pdf-cut", "Niveau 1 : PDF sans %%EOF", "CDA-B05", payload=PDF[:-8] + b"\n")
bad(
    "corps",
    "n1-bad-base64",
    "Niveau 1 : base64 illisible",
    n1_with('representation="B64">', 'representation="B64">*'),
    f"CDA-B03 {HERE} 207/906",
)
bad(
    "corps",
    "n3-attachment-empty",
    "Niveau 3 : fichier joint vide",
    lambda g: g.send(
        swap(
            g.n3(),
            "</structuredBody>",
            '<component><section><code code="1"/><title>t</title><text/><entry>'
            '<observationMedia classCode="OBS" moodCode="EVN"><value mediaType="image/png" representation="B64"/>'
            "</observationMedia></entry></section></component></structuredBody>",
        )
    ),
    f"CDA-B11 {HERE} 207/906",
)
tolerated(
    "n3-section-without-title",
    "Niveau 3 : section sans titre",
    lambda g: g.send(swap(g.n3(), "<title>Biochimie</title>", "")),
    f"CDA-B02 {HERE}",
)
tolerated(
    "n3-image-missing",
    "Niveau 3 : image appelée et absente",
    lambda g: g.send(
        swap(g.n3(), "<td>Sodium</td>", '<td><renderMultiMedia referencedObject="absente"/></td>')
    ),
    f"CDA-B12 {HERE}",
)

# --- values of the header ---


def header(identifier: str, what: str, make: object, rule: str, code: str = "207/906") -> None:
    bad("en-tête", identifier, what, make, f"{rule} {HERE} {code}")  # type: ignore[arg-type]


header(
    "confidentiality-label",
    "confidentialityCode sans displayName",
    n1_with(' displayName="Normal"', ""),
    "CDA-H12-LABEL",
)
header(
    "gender-value",
    "Sexe hors JDV_J143 dans le document",
    n1_with('<administrativeGenderCode code="M"', '<administrativeGenderCode code="H"'),
    "CDA-H18-VALUE",
    "103",
)
header(
    "author-name",
    "Auteur sans nom",
    content(lambda g: swap(g.n1(), "<family>MARTIN</family>", "")),
    "CDA-H20-NAME",
)
header(
    "practice-value",
    "Cadre d'exercice hors JDV_J04",
    n1_with('code="ETABLISSEMENT"', 'code="INCONNU"'),
    "CDA-H23-J04",
    "103",
)
header(
    "encounter-time",
    "componentOf sans effectiveTime",
    content(
        lambda g: swap(
            g.n1(),
            '<encompassingEncounter><effectiveTime><low value="20260109080000+0100"/></effectiveTime>',
            "<encompassingEncounter>",
        )
    ),
    "CDA-H25-TIME",
)
header(
    "facility-label",
    "Secteur d'activité sans libellé",
    n1_with(' displayName="Etablissement public de santé"', ""),
    "CDA-H25-FACILITY",
)
header(
    "facility-value",
    "Secteur d'activité hors JDV_J02",
    n1_with('code="SA01"', 'code="SA99"'),
    "CDA-H25-J02",
    "103",
)
header(
    "address-use",
    "addr avec un use inconnu",
    n1_with("<addr><houseNumber>", '<addr use="XX"><houseNumber>'),
    "CDA-H27-ADDRESS",
)
header(
    "informant-empty",
    "informant vide",
    n1_with("<custodian>", "<informant/><custodian>"),
    "CDA-H28-INFORMANT",
)
header(
    "participant-empty",
    "participant vide",
    n1_with("<componentOf>", '<participant typeCode="INF"/><componentOf>'),
    "CDA-H28-PARTICIPANT",
)


def two_ins(g: Good) -> bytes:
    other = "2900175123456"
    return swap(
        g.n1(),
        "<addr><houseNumber>",
        f'<id root="{build.INS_TEST}" extension="{other}{build.ins_key(other)}"/><addr><houseNumber>',
    )


bad(
    "INS",
    "two-ins-in-document",
    "Deux INS différentes dans le document",
    content(two_ins),
    f"CDA-I01-SEVERAL {HERE} 207/904",
    f"CDA-M01-INS {HERE} 207/904",
)
tolerated(
    "double-encoded",
    "Accents encodés deux fois",
    content(lambda g: swap(g.n1(), "Hôpital fictif", "HÃ´pital fictif", -1)),
    f"CDA-DOUBLE-ENCODED {HERE}",
)
tolerated(
    "author-without-code",
    "Auteur sans profession ni spécialité",
    content(
        lambda g: g.n1().replace(
            b'<code code="G15_10/SM03" displayName="M\xc3\xa9decin - Biologie m\xc3\xa9dicale (SM)"'
            b' codeSystem="1.2.250.1.213.1.1.4.5"/>',
            b"",
        )
    ),
    f"CDA-H20-NO-CODE {HERE}",
)
tolerated(
    "stylesheet",
    "Feuille de style séparée, vers le DMP",
    n1_with("<ClinicalDocument ", "<?xml-stylesheet type='text/xsl' href='a.xsl'?><ClinicalDocument "),
    f"CDA-H01-STYLE {HERE}",
)

# --- dates, authorities and values of the message ---

bad(
    "en-tête",
    "msh-7-form",
    "MSH-7 au format ISO",
    lambda g: put(g.mdm, "MSH^1^7", "2026-01-10T09:30:00"),
    "MSH7-FORM MSH^1^7 102",
)
bad(
    "en-tête",
    "evn-2-form",
    "EVN-2 au 31 février",
    lambda g: put(g.mdm, "EVN^1^2", "20260231"),
    "EVN2-FORM EVN^1^2 102",
)
bad(
    "identité",
    "pid-3-authority",
    "PID-3 : autorité ISO qui n'est pas un OID",
    lambda g: put(g.mdm, "PID^1^3^2^4", "HOPITAL&990000019&ISO"),
    "PID3-AUTHORITY PID^1^3^2^4^2 102",
)
bad(
    "message",
    "sb-authority",
    "PRT SB : autorité ISO qui n'est pas un OID",
    lambda g: put(g.mdm, "PRT^1^5^1^9", "ASIP-SANTE-PS&RPPS&ISO"),
    "SB-AUTHORITY PRT^1^5^1^9^2 102",
)
tolerated(
    "entry-date",
    "PV1-44 qui n'est pas une date",
    lambda g: put(g.mdm, "PV1^1^44", "hier"),
    "OPTIONAL-DATE PV1^1^44",
)
tolerated(
    "account-authority",
    "PID-18 : autorité annoncée FINESS et qui n'en est pas une",
    lambda g: put(g.mdm, "PID^1^18^1^4", "X&1204567809&M"),
    "OPTIONAL-AUTHORITY PID^1^18^1^4^2",
)
tolerated(
    "visit-type",
    "PV1-19.5 autre que VN",
    lambda g: put(g.mdm, "PV1^1^19^1^5", "AN"),
    "OPTIONAL-VALUE PV1^1^19^1^5",
)

# --- overload ---

bad(
    "circonstance",
    "too-many-deliveries",
    "Trop de transmissions en attente",
    lambda g: g.mdm,
    "EXC-OVERLOAD-QUEUE - 207/906",
    code="AR",
    world="queue",
    before=lambda g: g.before(g.send(g.n1(uid=f"{g.root}.9.1", set_id=f"{g.root}.9"))),
)
bad(
    "circonstance",
    "journal-hangs",
    "Journal qui n'enregistre pas dans le délai",
    lambda g: g.mdm,
    "EXC-OVERLOAD-JOURNAL - 207/906",
    code="AR",
    world="locked",
)
