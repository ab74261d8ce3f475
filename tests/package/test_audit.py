"""`segur-gateway cda-package check`: every kind of defect, made on purpose; exit status; French and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway import cli
from gateway.cda.package.schema import Defect
from gateway.schematron import audit as audits
from gateway.schematron.audit import KINDS, audit, in_words
from tests.package import mini

pytest.importorskip("saxonche")

NEW_VOLET = "schematrons/CI-SIS_{}_2024.01.sch"
EXTENDS_NOTHING = mini.schema('<pattern><rule context="/*"><extends rule="x"/></rule></pattern>')


def rule(test: str) -> str:
    return mini.schema(f'<pattern><rule context="/*"><assert test="{test}">x</assert></rule></pattern>')


def kinds(folder: Path) -> set[str]:
    return {d.kind for d in audit(folder).defects}


def test_a_package_with_little_wrong(tmp_path: Path) -> None:
    found = audit(mini.make(tmp_path))
    assert found.usable
    assert (found.xsd, found.compiled_with_saxon, found.unusable_schematrons) == (True, True, [])
    assert found.volets == {
        mini.MODEL_ROOT: [
            ("2023.01", "schematrons/CI-SIS_ESSAI_2023.01.sch"),
            ("2024.01", "schematrons/CI-SIS_ESSAI_2024.01.sch"),
        ]
    }
    assert {(d.kind, d.what) for d in found.defects} == {
        ("include-case", "../Abstract/inValueSet.sch"),
        ("include-case", "include/Datatypes.sch"),
        ("value-set-case", "../../jeuxDeValeurs/jdv_gender.xml"),
        ("value-set-missing", "../../jeuxDeValeurs/JDV_ABSENT.xml"),
        ("value-set-rebuilt", f"include/voc-{mini.TYPE_CODES}-DYNAMIC.xml"),
        ("value-set-unreadable", "jeuxDeValeurs/Empty.xml"),
    }


@pytest.mark.parametrize(
    ("kind", "file", "content"),
    [
        ("include-missing", mini.ANS, mini.schema('<include href="x.sch"/>')),
        ("include-outside", mini.ANS, mini.schema('<include href="file:///etc/hostname"/>')),
        ("include-loop", mini.ANS, mini.schema('<include href="CI-SIS_Modeles_ANS.sch"/>')),
        ("unreadable", mini.ANS, "<schema"),
        ("doctype", mini.ANS, "<!DOCTYPE schema>" + mini.schema("")),
        ("schema-missing", mini.ANS, None),
        ("not-compilable", mini.ANS, rule("1 +")),
        ("function-refused", mini.ANS, rule("unparsed-text('x')")),
        ("abstract-pattern-missing", mini.ANS, mini.schema('<pattern is-a="x"/>')),
        ("abstract-rule-missing", mini.ANS, EXTENDS_NOTHING),
        ("phase-missing", mini.ANS, mini.schema("", ' defaultPhase="x"')),
        ("pattern-missing", mini.ANS, mini.schema('<phase id="p"><active pattern="x"/></phase>', ' defaultPhase="p"')),
        ("let-twice", mini.ANS, mini.schema('<let name="a" value="1"/><let name="a" value="2"/>')),
        ("value-set-outside", mini.ANS, rule("doc('../../../x.xml')")),
        ("volet-unmapped", NEW_VOLET.format("X"), mini.schema("")),
        ("volet-twice", NEW_VOLET.format("X"), mini.volet("2024.01")),
        ("same-name", "jeuxDeValeurs/EMPTY.xml", "<x/>"),
        ("xsd-unusable", "infrastructure/cda/CDA_extended.xsd", "<x/>"),
        ("xsd-unusable", "infrastructure/cda/general/types.xsd", None),
    ],
)  # fmt: skip
def test_each_kind_of_defect(tmp_path: Path, kind: str, file: str, content: str | None) -> None:
    folder = mini.make(tmp_path, {file: content})
    assert kind in kinds(folder)
    assert KINDS[kind] in in_words(audit(folder))


def test_links_that_leave_the_package(tmp_path: Path) -> None:
    folder = mini.make(tmp_path / "package")
    (tmp_path / "x.sch").write_text("x")
    (folder / "schematrons" / "x.sch").symlink_to(tmp_path / "x.sch")
    assert Defect("link-outside", "schematrons/x.sch", "schematrons/x.sch") in audit(folder).defects


def test_without_saxonche_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mini.make(tmp_path)
    with_saxon = audit(folder)
    monkeypatch.setattr(audits, "available", lambda: False)
    without = audit(folder)
    assert without.defects == with_saxon.defects
    assert (without.compiled_with_saxon, without.usable) == (False, True)
    assert "saxonche absent" in in_words(without)


def command(folder: Path, *more: str) -> int:
    return cli.main(["cda-package", "check", str(folder), *more])


def test_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 usable (its defects listed), 1 not usable (no XSD, or nothing compiles), 2 wrong use."""
    good = mini.make(tmp_path / "good")
    assert command(good) == 0
    assert "Verdict : utilisable" in capsys.readouterr().out
    assert command(mini.make(tmp_path / "x", {"infrastructure/cda/CDA_extended.xsd": None})) == 1
    nothing = {name: "<broken" for name in mini.FILES if name.endswith(".sch")}
    assert command(mini.make(tmp_path / "y", nothing)) == 1
    assert "INUTILISABLE" in capsys.readouterr().out
    assert command(tmp_path / "nowhere") == 2
    with pytest.raises(SystemExit) as wrong:
        cli.main(["cda-package"])
    assert wrong.value.code == 2


def test_json_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(mini.make(tmp_path), "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["usable"], told["xsd"], len(told["digest"])) == (True, True, 64)
    assert {"kind", "where", "what", "fatal"} == set(told["defects"][0])
    assert told["volets"][mini.MODEL_ROOT][0] == ["2023.01", "schematrons/CI-SIS_ESSAI_2023.01.sch"]
