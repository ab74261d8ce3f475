"""A small package of our own, with the shape (and some of the defects) of the official one."""

from __future__ import annotations

from pathlib import Path

XSD = """<?xml version="1.0"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:hl7-org:v3" xmlns="urn:hl7-org:v3"
    elementFormDefault="qualified">
  <xs:include schemaLocation="general/types.xsd"/>
  <xs:element name="ClinicalDocument"><xs:complexType><xs:sequence>
    <xs:any minOccurs="0" maxOccurs="unbounded" processContents="lax"/>
  </xs:sequence><xs:anyAttribute processContents="skip"/></xs:complexType></xs:element>
  <xs:element name="effectiveTime" type="Time"/>
  <xs:element name="languageCode"/><xs:element name="versionNumber"/><xs:element name="title"/>
</xs:schema>"""
TYPES = """<?xml version="1.0"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:hl7-org:v3" xmlns="urn:hl7-org:v3">
  <xs:complexType name="Time"><xs:sequence>
    <xs:any minOccurs="0" maxOccurs="unbounded" processContents="lax"/></xs:sequence>
  <xs:attribute name="value"><xs:simpleType>
    <xs:restriction base="xs:string"><xs:pattern value="[0-9]{4,14}([+-][0-9]{4})?"/></xs:restriction>
  </xs:simpleType></xs:attribute></xs:complexType>
</xs:schema>"""
HEAD = (
    '<schema xmlns="http://purl.oclc.org/dsdl/schematron" queryBinding="xslt2"{more}>'
    '<ns prefix="cda" uri="urn:hl7-org:v3"/><ns prefix="svs" uri="urn:ihe:iti:svs:2008"/>'
)
STRUCMIN = "schematrons/profils/structurationMinimale/ASIP-STRUCT-MIN-StrucMin.sch"
IHE = "schematrons/profils/IHE.sch"
MODELS = "schematrons/profils/CI-SIS_ModelesDeContenusCDA.sch"
ANS = "schematrons/profils/CI-SIS_Modeles_ANS.sch"
MODEL_ROOT = "1.2.250.1.213.1.1.1.999"
TYPE_CODES = "1.2.250.1.213.1.1.5.471"
RULED_OUT = "1.2.250.1.213.1.1.2.111"
SLOW = "1.2.250.1.213.1.1.2.222"
GREEDY = "1.2.250.1.213.1.1.2.333"
ABSENT = "1.2.250.1.213.1.1.2.444"
TYPED = "1.2.250.1.213.1.1.2.555"


def schema(body: str, more: str = "") -> str:
    """A schema with its namespaces."""
    return HEAD.format(more=more) + body + "</schema>"


FILES = {
    "infrastructure/cda/CDA_extended.xsd": XSD,
    "infrastructure/cda/general/types.xsd": TYPES,
    # abstract rules by extends, lets of schema and rule, a value set that is missing and can be rebuilt
    STRUCMIN: schema(f"""
      <let name="france" value="'FR'"/>
      <pattern id="types"><include href="include/Datatypes.sch"/></pattern>
      <include href="include/template.sch"/>
      <pattern id="special">
        <rule context="*[cda:templateId/@root='{SLOW}']">
          <let name="n" value="2000000000 + count(cda:no)"/>
          <assert test="count(for $i in 1 to $n return if ($i lt 0) then 1 else ()) = 0">slow</assert></rule>
        <rule context="*[cda:templateId/@root='{GREEDY}']">
          <let name="n" value="400000000 + count(cda:no)"/>
          <assert test="not(string-join(for $i in 1 to $n return string($i), ','))">greedy</assert>
        </rule>
      </pattern>
      <pattern id="typed">
        <rule context="*[cda:templateId/@root='{TYPED}']/cda:title">
          <assert test="starts-with(../cda:id/@root, '1')">two ids where one is wanted</assert></rule>
        <rule context="*[cda:templateId/@root='{TYPED}']/cda:languageCode">
          <assert test="false()">told in spite of it</assert></rule>
      </pattern>"""),
    "schematrons/profils/structurationMinimale/include/datatypes.sch": """
      <rule xmlns="http://purl.oclc.org/dsdl/schematron" abstract="true" id="CS">
        <assert role="error" test="@code" id="cs-1">code absent</assert>
        <extends rule="ANY"/></rule>""",
    "schematrons/profils/structurationMinimale/include/template.sch": f"""
      <pattern xmlns="http://purl.oclc.org/dsdl/schematron" id="template">
        <rule abstract="true" id="ANY">
          <assert test="not(@nullFlavor and @code)">nullFlavor and code</assert></rule>
        <rule context="cda:ClinicalDocument">
          <assert test="cda:realmCode/@code = $france">realmCode <value-of select="cda:realmCode/@code"/> wrong</assert>
          <report test="cda:religion">religion: <value-of select="cda:religion"/></report>
          <assert test="every $c in cda:code/@code satisfies $c =
            doc('include/voc-{TYPE_CODES}-DYNAMIC.xml')/*/valueSet/conceptList/concept/@code">
            typeCode <value-of select="cda:code/@code"/> of <name/> unknown</assert>
          <assert role="warning" test="not(cda:realmCode/@displayName)">closed: displayName</assert></rule>
        <rule context="cda:languageCode | cda:confidentialityCode"><extends rule="CS"/></rule>
        <rule context="cda:languageCode[@code]">
          <assert test="false()">never: an earlier rule took the node</assert></rule>
        <rule context="cda:versionNumber/@value">
          <let name="n" value="number(.)"/><assert test="$n gt 0">version not positive</assert></rule>
      </pattern>""",
    # an abstract pattern with parameters, an include in another letter case, a default phase
    IHE: schema(
        f"""
      <include href="../Abstract/inValueSet.sch"/>
      <phase id="ihe"><active pattern="variables"/><active pattern="gender"/></phase>
      <pattern id="variables"><let name="genders" value="'../../jeuxDeValeurs/jdv_gender.xml'"/></pattern>
      <pattern id="gender" is-a="inValueSet">
        <param name="path" value="$genders"/>
        <param name="elements" value="cda:administrativeGenderCode"/></pattern>
      <pattern id="sleeping"><rule context="cda:ClinicalDocument"><assert test="false()">not in the phase</assert>
        </rule></pattern>
      <pattern id="{RULED_OUT}"><rule context="*"><assert test="false()">not in the phase</assert></rule></pattern>""",
        ' defaultPhase="ihe"',
    ),
    "schematrons/abstract/inValueSet.sch": """
      <pattern xmlns="http://purl.oclc.org/dsdl/schematron" id="inValueSet" abstract="true">
        <rule context="$elements"><let name="c" value="@code"/>
          <assert test="document($path)//svs:Concept[@code = $c]">code <value-of select="$c"/> not in $elements</assert>
        </rule></pattern>""",
    MODELS: schema(f"""
      <pattern id="needs-a-root">
        <rule context="*[cda:templateId/@root = '{RULED_OUT}']"><assert test="false()">found</assert></rule></pattern>
      <pattern id="absent">
        <rule context="*[cda:templateId/@root = '{ABSENT}']/cda:code">
          <assert test="@code = doc('../../jeuxDeValeurs/JDV_ABSENT.xml')//@code">absent</assert></rule>
        <rule context="*[cda:templateId/@root = '{ABSENT}']/cda:title">
          <assert test="false()">told in spite of it</assert></rule></pattern>"""),
    ANS: schema('<pattern><rule context="cda:nothing"><assert test="false()">no</assert></rule></pattern>'),
    "jeuxDeValeurs/JDV_Gender.xml": """<RetrieveValueSetResponse xmlns="urn:ihe:iti:svs:2008"><ValueSet id="1.2.3">
      <ConceptList><Concept code="F"/><Concept code="M"/></ConceptList></ValueSet></RetrieveValueSetResponse>""",
    "jeuxDeValeurs/JDV_J07_Types.xml": f"""<RetrieveValueSetResponse xmlns="urn:ihe:iti:svs:2008">
      <ValueSet dateFin="" id="{TYPE_CODES}"><ConceptList><Concept code="11502-2" codeSystem="2.16.840.1.113883.6.1"/>
      </ConceptList></ValueSet></RetrieveValueSetResponse>""",
    "jeuxDeValeurs/Empty.xml": "",
}


def volet(version: str, root: str = MODEL_ROOT, extra: str = "") -> str:
    """A volet that wants `root` on the document, and says its version when a title is `version`."""
    return schema(f"""<pattern id="v"><rule context="cda:ClinicalDocument">
      <assert test="cda:templateId[@root='{root}']">templateId {root}</assert>
      <assert test="not(cda:title = 'fail')">volet {version}</assert>{extra}</rule></pattern>""")


FILES |= {f"schematrons/CI-SIS_ESSAI_{v}.sch": volet(v) for v in ("2023.01", "2024.01")}


def make(folder: Path, changes: dict[str, str | None] | None = None) -> Path:
    """Write the package into `folder`; `changes`: file → content, None: left out."""
    return write(folder, FILES | (changes or {}))


def write(folder: Path, files: dict[str, str | None]) -> Path:
    """Write `files` into `folder`."""
    for name, text in files.items():
        if text is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return folder


def document(
    *,
    realm: str = "FR",
    code: str = "11502-2",
    title: str = "t",
    gender: str = "F",
    templates: str = "",
    level: int = 3,
    more: str = "",
    version: str = "1",
) -> str:
    """A document that all schemas of the package accept, unless told otherwise."""
    body = "<structuredBody/>" if level == 3 else "<nonXMLBody><text>x</text></nonXMLBody>"
    return (
        '<ClinicalDocument xmlns="urn:hl7-org:v3">'
        f'<realmCode code="{realm}"/><templateId root="{MODEL_ROOT}" extension="2024.01"/>{templates}'
        f'<id root="1.2.3"/><code code="{code}"/><title>{title}</title><effectiveTime value="2026"/>'
        f'<confidentialityCode code="N"/><languageCode code="fr-FR"/><versionNumber value="{version}"/>{more}'
        f'<recordTarget><administrativeGenderCode code="{gender}"/></recordTarget>'
        f"<component>{body}</component></ClinicalDocument>"
    )


def template(root: str) -> str:
    """One more templateId."""
    return f'<templateId root="{root}"/>'
