"""The folder: references in any letter case, none that leaves it, a manifest, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cda.package.folder import BadReference, Package
from gateway.cda.package.valuesets import ValueSets
from gateway.cda.package.xsd import XsdLayer
from gateway.errors import ConfigurationFault
from tests.package import mini


def opened(tmp_path: Path) -> Package:
    return Package.open(mini.make(tmp_path / "package"))


def test_references_are_found_in_any_letter_case(tmp_path: Path) -> None:
    package = opened(tmp_path)
    assert package.resolve(mini.IHE, "../ABSTRACT/invalueset.SCH") == "schematrons/abstract/inValueSet.sch"
    assert (
        package.resolve(mini.IHE, "..\\abstract\\inValueSet.sch#x") == "schematrons/abstract/inValueSet.sch"
    )
    assert package.find("schematrons/PROFILS/ihe.sch") == mini.IHE


def test_the_exact_name_wins(tmp_path: Path) -> None:
    package = opened(tmp_path)
    mini.write(package.root, {"schematrons/abstract/INVALUESET.sch": "x"})
    package = Package.open(package.root)
    assert package.resolve(mini.IHE, "../abstract/inValueSet.sch") == "schematrons/abstract/inValueSet.sch"
    assert package.same_but_for_case() == [
        ["schematrons/abstract/INVALUESET.sch", "schematrons/abstract/inValueSet.sch"]
    ]


@pytest.mark.parametrize(
    "reference",
    [
        "../../../outside.sch",
        "../../../../../../../../etc/hostname",
        "/etc/hostname",
        "file:///etc/hostname",
        "http://127.0.0.1/x.sch",
        "C:\\x.sch",
        "",
        "#x",
    ],
)
def test_no_reference_leaves_the_package(tmp_path: Path, reference: str) -> None:
    package = opened(tmp_path)
    (tmp_path / "outside.sch").write_text("x")
    with pytest.raises(BadReference) as refused:
        package.resolve(mini.IHE, reference)
    assert refused.value.outside


def test_links_out_of_the_package_are_not_followed(tmp_path: Path) -> None:
    folder = mini.make(tmp_path / "package")
    (tmp_path / "secret.sch").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.sch").write_text("y")
    (folder / "schematrons" / "secret.sch").symlink_to(tmp_path / "secret.sch")
    (folder / "schematrons" / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (folder / "schematrons" / "inside.sch").symlink_to(folder / mini.IHE)
    package = Package.open(folder)
    assert package.refused_links == ("schematrons/elsewhere", "schematrons/secret.sch")
    assert package.resolve(mini.IHE, "../inside.sch") == "schematrons/inside.sch"
    for name in ("../secret.sch", "../elsewhere/y.sch"):
        with pytest.raises(BadReference):
            package.resolve(mini.IHE, name)


def test_the_manifest_changes_with_any_file_and_nothing_is_written(tmp_path: Path) -> None:
    first = opened(tmp_path)
    before = sorted(p.relative_to(first.root) for p in first.root.rglob("*"))
    assert Package.open(first.root).digest == first.digest
    assert sorted(p.relative_to(first.root) for p in first.root.rglob("*")) == before
    (first.root / "jeuxDeValeurs" / "Empty.xml").write_text("<x/>")
    assert Package.open(first.root).digest != first.digest
    (first.root / "ExemplesCDA").mkdir()
    (first.root / "ExemplesCDA" / "x.xml").write_text("<x/>")
    assert "ExemplesCDA/x.xml" not in Package.open(first.root).files


def test_a_folder_that_is_no_package(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigurationFault, match=r"cda\.package"):
            Package.open(folder)


def test_a_missing_voc_file_is_rebuilt_from_its_jdv(tmp_path: Path) -> None:
    """spec/cda.md §1: voc-…471 is missing from the published package; JDV_J07 has the same OID."""
    sets = ValueSets(opened(tmp_path))
    key, xml = sets.read(mini.STRUCMIN, f"include/voc-{mini.TYPE_CODES}-DYNAMIC.xml")
    assert key == f"rebuilt:{mini.TYPE_CODES}"
    assert b'code="11502-2"' in xml
    with pytest.raises(BadReference):
        sets.read(mini.STRUCMIN, "include/voc-9.9.9-DYNAMIC.xml")
    assert sets.unreadable() == ["jeuxDeValeurs/Empty.xml"]


@pytest.mark.parametrize("reference", ["../../../../outside.xsd", "http://127.0.0.1:9/x.xsd", "{uri}"])
def test_an_xsd_cannot_bring_in_a_file_from_elsewhere(tmp_path: Path, reference: str) -> None:
    outside = tmp_path / "outside.xsd"
    outside.write_text(mini.TYPES)
    xsd = mini.XSD.replace("general/types.xsd", reference.format(uri=outside.as_uri()))
    folder = mini.make(tmp_path / "package", {"infrastructure/cda/CDA_extended.xsd": xsd})
    with pytest.raises(ConfigurationFault, match="from elsewhere"):
        XsdLayer(Package.open(folder))
