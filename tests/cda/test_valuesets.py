"""Value sets: dated, replaceable file by file, and the rules that read them (H09, H18, H20, H23, H25, H28)."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.build import cda_n1
from gateway.cda.check import check_content
from gateway.cda.valuesets import SHIPPED, load_value_sets, read_table
from gateway.errors import ConfigurationFault
from tests.cda.support import BOOK, OBX, rules


def test_every_shipped_file_says_what_it_is() -> None:
    for path in SHIPPED.glob("*.tsv"):
        table = read_table(path.name, ("code",))
        assert table.title
        assert table.oid.startswith("1.2.250.1.213.1.1.5.")
        assert len(table.date) == 10, path.name
        assert len(table.codes) == len(table.rows), path.name


def test_the_editions_are_those_of_the_files() -> None:
    sets = load_value_sets()
    assert sets.editions["type.tsv"] == "2024-09-27"
    assert len(sets.types) == 114
    assert len(sets.specialties) == 396
    assert sets.genders == {"F", "M", "UN"}
    assert sets.types_dmp - sets.types == {"11526-1"}


def test_a_folder_replaces_one_file_and_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "type.tsv").write_text(
        "# date: 2031-02-03\ncode\tsystem\tlabel\n99999-9\tx\tNew\n", encoding="utf-8"
    )
    (tmp_path / "type_dmp.tsv").write_text("\ufeff# date: 2031-02-03\ncode\n99999-9\n", encoding="utf-8")
    sets = load_value_sets(tmp_path)
    assert sets.types == sets.types_dmp == {"99999-9"}
    assert sets.facilities == load_value_sets().facilities
    new = cda_n1(type_code="99999-9")
    assert rules(check_content(new, BOOK, OBX, dmp=True).findings) == ["CDA-H09-J07"]
    assert rules(check_content(new, BOOK, OBX, dmp=True, sets=sets).findings) == []
    (told,) = check_content(cda_n1(), BOOK, OBX, sets=sets).findings
    assert (told.rule, told.err3, told.err5) == ("CDA-H09-J07", "103", None)
    assert "2031-02-03" in told.text


def test_j66_is_asked_for_the_dmp_only() -> None:
    """29274-8 is in JDV_J07 and not in JDV_J66 (spec/dmp.md §3.3)."""
    document = cda_n1(type_code="29274-8")
    assert rules(check_content(document, BOOK, OBX, dmp=False).findings) == []
    (told,) = check_content(document, BOOK, OBX, dmp=True).findings
    assert (told.rule, told.err3, told.path) == ("CDA-H09-J66", "103", "code")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("type.tsv", "label\nx\n"),
        ("facility.tsv", "# date: 2030-01-01\ncode\n"),
        ("gender.tsv", "code\tsystem\nF\n"),
        ("practice.tsv", b"\xff\xfe"),
    ],
)
def test_a_broken_file_is_a_configuration_fault_that_names_it(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationFault, match=name):
        load_value_sets(tmp_path)


def test_a_folder_that_is_not_there_is_a_configuration_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match=r"cda\.tables"):
        load_value_sets(tmp_path / "absent")
