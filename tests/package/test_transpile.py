"""The transpiler and Saxon, on our own small package: what it must do, and what must never come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cda.package.folder import Package
from gateway.cda.package.reports import Family, FamilyReport
from gateway.cda.package.schema import read_schema
from gateway.cda.package.transpile import _elements_only, _needed_roots, transpile
from gateway.cda.package.volets import Volet, VoletMap
from tests.package import mini

pytest.importorskip("saxonche")
from gateway.schematron.engine import QUOTED, Engine

SECRET = "DURAND-SECRET"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(Package.open(mini.make(tmp_path_factory.mktemp("mini"))), list(Family))


def run(
    engine: Engine, document: str, level: int = 3, version: str = "2024.01"
) -> dict[Family, FamilyReport]:
    return {r.family: r for r in engine.run(document, level, [(mini.MODEL_ROOT, version)])}


def texts(report: FamilyReport) -> list[str]:
    return [a.text for a in report.assertions]


def test_a_good_document_passes_all(engine: Engine) -> None:
    reports = run(engine, mini.document())
    assert [(r.ran, r.failed, r.remarks, r.reason) for r in reports.values()] == [(True, 0, 0, "")] * 5
    assert reports[Family.VOLET].schema == "CI-SIS_ESSAI_2024.01.sch"


def test_level_1_is_judged_by_the_structuration_minimale_alone(engine: Engine) -> None:
    """LISEZ-MOI of the package: N1 → StrucMin only."""
    assert list(run(engine, mini.document(level=1), level=1)) == [Family.STRUCMIN]


def test_asserts_reports_lets_and_places(engine: Engine) -> None:
    """Fixed texts only: `value-of` and `name` would repeat the document."""
    wrong = mini.document(realm=SECRET, code=SECRET, more=f"<religion>{SECRET}</religion>")
    report = run(engine, wrong)[Family.STRUCMIN]
    assert (report.ran, report.failed) == (True, 3)
    assert texts(report) == ["realmCode … wrong", "religion: …", "typeCode … of … unknown"]
    assert {a.path for a in report.assertions} == {"ClinicalDocument"}
    assert SECRET not in repr(report)


def test_abstract_rules_are_extended_and_the_first_rule_of_a_pattern_wins(engine: Engine) -> None:
    document = mini.document().replace('<languageCode code="fr-FR"/>', '<languageCode nullFlavor="UNK"/>')
    report = run(engine, document)[Family.STRUCMIN]
    assert [(a.text, a.identifier, a.path) for a in report.assertions] == [
        ("code absent", "cs-1", "ClinicalDocument/languageCode")
    ]
    document = mini.document().replace('code="fr-FR"', 'code="fr-FR" nullFlavor="UNK"')
    assert texts(run(engine, document)[Family.STRUCMIN]) == ["nullFlavor and code"]


def test_a_name_that_the_xsd_do_not_know_is_not_repeated(tmp_path: Path) -> None:
    body = '<pattern><rule context="/*/*"><assert test="false()">x</assert></rule></pattern>'
    package = Package.open(mini.make(tmp_path, {mini.ANS: mini.schema(body)}))
    document = f'<ClinicalDocument xmlns="urn:hl7-org:v3"><title/><{SECRET}/></ClinicalDocument>'
    (report,) = Engine(package, [Family.ANS]).run(document, 3, [])
    assert [a.path for a in report.assertions] == ["ClinicalDocument/title", "ClinicalDocument/(nom inconnu)"]


def test_a_pattern_that_is_not_there_leaves_the_run_incomplete(tmp_path: Path) -> None:
    """The default phase activates a pattern that no file brings: never passed."""
    body = '<phase id="p"><active pattern="x"/></phase>'
    package = Package.open(mini.make(tmp_path, {mini.ANS: mini.schema(body, ' defaultPhase="p"')}))
    (report,) = Engine(package, [Family.ANS]).run(mini.document(), 3, [])
    assert (report.ran, report.failed) == (False, 0)
    assert report.reason == "une partie du schématron est absente du paquet"


def test_rules_on_attributes(engine: Engine) -> None:
    report = run(engine, mini.document(version="0"))[Family.STRUCMIN]
    assert [a.path for a in report.assertions] == ["ClinicalDocument/versionNumber/@value"]


def test_abstract_patterns_parameters_phase_and_letter_case(engine: Engine) -> None:
    """is-a/param by substitution, the default phase alone, include and value set in another letter case."""
    report = run(engine, mini.document(gender=SECRET))[Family.IHE]
    assert (report.failed, texts(report)) == (1, ["code … not in $elements"])


def test_closed_patterns_are_remarks(engine: Engine) -> None:
    """role=warning: elements that CDA allows; counted apart, never failed."""
    document = mini.document().replace('<realmCode code="FR"', '<realmCode code="FR" displayName="x"')
    report = run(engine, document)[Family.STRUCMIN]
    assert (report.ran, report.failed, report.remarks) == (True, 0, 1)


def test_a_pattern_is_walked_only_when_its_template_is_there(engine: Engine) -> None:
    assert run(engine, mini.document())[Family.MODELS].failed == 0
    found = run(engine, mini.document(templates=mini.template(mini.RULED_OUT)))[Family.MODELS]
    assert texts(found) == ["found"]


@pytest.mark.parametrize(
    ("context", "roots"),
    [
        ("*[cda:templateId/@root='1.2']", {"1.2"}),
        ('cda:a[cda:templateId[@root = "1.2"]]/cda:b[@x]', {"1.2"}),
        ("*[not(cda:templateId/@root='1.2')]", set()),
        ("*[cda:templateId/@root='1.2' or @x]", set()),
        ("*[cda:templateId/@root='1.2'] | cda:b", set()),
        ("*[cda:templateId/@root!='1.2']", set()),
        ("*[count(cda:templateId[@root='1.2']) = 0]", set()),
        ("cda:ClinicalDocument", set()),
    ],
)
def test_what_a_context_needs_is_only_told_when_certain(context: str, roots: set[str]) -> None:
    assert _needed_roots(context) == roots


@pytest.mark.parametrize(
    ("context", "elements"),
    [
        ("cda:a[@x = '@']/cda:b", True),
        ("//cda:a[b[@c]/d]", True),
        ("cda:a/@x", False),
        ("/", False),
        ("cda:a | /", False),
        ("text()", False),
        ("cda:a/node()", False),
        ("cda:a/attribute::x", False),
    ],
)
def test_which_contexts_match_elements_only(context: str, elements: bool) -> None:
    assert _elements_only(context) is elements


def test_a_missing_value_set_is_not_run_and_does_not_hide_the_rest(engine: Engine) -> None:
    """A transformation error is never passed and never failed; what did fail is still told."""
    report = run(engine, mini.document(templates=mini.template(mini.ABSENT)))[Family.MODELS]
    assert (report.ran, report.reason) == (False, "jeu de valeurs absent du paquet")
    assert texts(report) == ["told in spite of it"]


def test_a_rule_that_cannot_be_evaluated_does_not_hide_the_rest(engine: Engine) -> None:
    document = mini.document(templates=mini.template(mini.TYPED), more=f'<id root="{SECRET}"/>')
    report = run(engine, document)[Family.STRUCMIN]
    assert (report.ran, report.failed) == (False, 1)
    assert texts(report) == ["told in spite of it"]
    assert "XPTY0004" in report.reason
    assert SECRET not in repr(report)


def test_a_doctype_is_refused_by_saxon_too(engine: Engine, tmp_path: Path) -> None:
    """Our reader refuses it first; Saxon alone would expand the file."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    document = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]>' + mini.document(
        more="<religion>&e;</religion>"
    )
    reports = run(engine, document)
    assert not any(r.ran for r in reports.values())
    assert SECRET not in repr(reports)


@pytest.mark.parametrize(
    "expression",
    [
        "doc('{file}')",
        "doc('{uri}')",
        "document('../../../secret.xml')",
        "doc(concat('{uri}', ''))",
        "document(concat('../../../secret', '.xml'))",
        "doc(.)",
    ],
)
def test_doc_reaches_only_the_package(tmp_path: Path, expression: str) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text("<x>there</x>")
    expression = expression.format(file=secret, uri=secret.as_uri())
    body = (
        f'<pattern><rule context="/*"><assert test="{expression} != \'there\'">read</assert></rule></pattern>'
    )
    package = Package.open(mini.make(tmp_path / "package", {mini.ANS: mini.schema(body)}))
    (report,) = Engine(package, [Family.ANS]).run(mini.document(), 3, [])
    assert (report.ran, report.failed) == (False, 0)


@pytest.mark.parametrize(
    "expression",
    [
        "unparsed-text('x')",
        "collection('.')",
        "fn:json-doc('x')",
        "environment-variable('HOME')",
        "transform(map{})",
    ],
)
def test_functions_that_reach_outside_are_refused(tmp_path: Path, expression: str) -> None:
    body = f'<pattern><rule context="/*"><assert test="{expression}">x</assert></rule></pattern>'
    package = Package.open(mini.make(tmp_path, {mini.ANS: mini.schema(body)}))
    schema = read_schema(package, mini.ANS)
    assert transpile(schema) is None
    assert [d.kind for d in schema.defects] == ["function-refused"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("include-missing", '<include href="nothing.sch"/>'),
        ("include-outside", '<include href="../../../x.sch"/>'),
        ("include-loop", '<include href="CI-SIS_Modeles_ANS.sch"/>'),
        ("abstract-pattern-missing", '<pattern is-a="nothing"/>'),
        ("abstract-rule-missing", '<pattern><rule context="/*"><extends rule="no"/></rule></pattern>'),
        ("let-twice", '<let name="a" value="1"/><let name="a" value="2"/>'),
    ],
)
def test_a_schema_with_a_hole_is_not_used(tmp_path: Path, kind: str, body: str) -> None:
    """A rule of it would be missing: it must not read as passed."""
    package = Package.open(mini.make(tmp_path, {mini.ANS: mini.schema(body)}))
    schema = read_schema(package, mini.ANS)
    assert transpile(schema) is None
    assert [d.kind for d in schema.defects if d.fatal] == [kind]
    (report,) = Engine(package, [Family.ANS]).run(mini.document(), 3, [])
    assert (report.ran, report.failed, report.reason) == (False, 0, "schématron du paquet inutilisable")


def test_a_schema_with_a_doctype_is_refused(tmp_path: Path) -> None:
    body = '<!DOCTYPE schema [<!ENTITY e "x">]>' + mini.schema("")
    package = Package.open(mini.make(tmp_path, {mini.ANS: body}))
    schema = read_schema(package, mini.ANS)
    assert transpile(schema) is None
    assert [d.kind for d in schema.defects] == ["doctype"]


def test_xpath_that_saxon_refuses(tmp_path: Path) -> None:
    body = '<pattern><rule context="/*"><assert test="1 +">x</assert></rule></pattern>'
    engine = Engine(Package.open(mini.make(tmp_path, {mini.ANS: mini.schema(body)})), [Family.ANS])
    assert [d.kind for d in engine.compiled(mini.ANS).defects] == ["not-compilable"]
    assert not engine.run(mini.document(), 3, [])[0].ran


# --- which volet ---------------------------------------------------------------------------------------------


def chosen(*templates: tuple[str, str]) -> tuple[str | None, str]:
    volets = VoletMap(
        [
            Volet("A", "2023.01", "a1", ("1.2.250.1.213.1.1.1.7", "1.3.6.1.1")),
            Volet("A", "2024.01", "a2", ("1.2.250.1.213.1.1.1.7", "1.3.6.1.1")),
            Volet("B", "2024.01", "b", ("1.2.250.1.213.1.1.1.8", "1.3.6.1.1")),
            Volet("C", "2024.01", "c", ("1.3.6.1.2",)),
        ]
    )
    choice = volets.choose(templates)
    return choice.volet.file if choice.volet else None, choice.note


def test_the_volet_is_chosen_by_template_and_version() -> None:
    assert chosen(("1.2.250.1.213.1.1.1.7", "2023.01")) == ("a1", "")
    assert chosen(("1.2.250.1.213.1.1.1.7", "2024.01"), ("1.3.6.1.1", "")) == ("a2", "")
    # BIO-CR-BIO: the version stands on another templateId
    assert chosen(("1.3.6.1.2", ""), ("1.2.250.1.213.1.1.1.55", "2024.01")) == ("c", "")


def test_a_missing_version_gets_the_newest_and_says_so() -> None:
    file, note = chosen(("1.2.250.1.213.1.1.1.7", ""))
    assert file == "a2"
    assert "2024.01" in note


def test_no_volet_is_never_another_one() -> None:
    assert chosen(("1.2.250.1.213.1.1.1.7", "2019.01"))[0] is None
    assert chosen(("1.3.6.1.1", "2024.01"))[0] is None  # shared by A and B: it tells neither
    assert chosen(("1.2.250.1.213.1.1.1.7", "2024.01"), ("1.2.250.1.213.1.1.1.8", "2024.01"))[0] is None


def test_a_version_that_is_not_there_is_said_with_those_that_are() -> None:
    _, note = chosen(("1.2.250.1.213.1.1.1.7", "2019.01"), ("1.2.250.1.213.1.1.1.1", "2022.01"))
    assert note == "version du volet absente du paquet (document : 2019.01 ; paquet : 2023.01, 2024.01)"
    # what is no version is never repeated
    _, note = chosen(("1.2.250.1.213.1.1.1.7", SECRET))
    assert "document : inconnue" in note


def test_very_many_failed_assertions_are_counted_and_cut(engine: Engine) -> None:
    many = '<languageCode nullFlavor="UNK"/>' * (QUOTED + 50)
    report = run(engine, mini.document(more=many))[Family.STRUCMIN]
    assert (report.failed, len(report.assertions)) == (QUOTED + 50, QUOTED)


def test_a_document_without_version_says_so_in_its_report(engine: Engine) -> None:
    report = run(engine, mini.document(), version="")[Family.VOLET]
    assert (report.ran, report.schema) == (True, "CI-SIS_ESSAI_2024.01.sch")
    assert report.reason.startswith("version absente")
    other = run(engine, mini.document(), version="2020.01")[Family.VOLET]
    assert (other.ran, other.failed, other.unavailable) == (False, 0, False)
