"""What the docs promise is what the code has."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from connectors.dmp import simulator as dmp_simulator
from gateway.cli import main
from gateway.exchange.telemetry import Telemetry
from gateway.rules import CORE_TABLES, read_rules

ROOT = Path(__file__).resolve().parents[2]


def test_the_settings_page_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs" / "make_settings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == module.text(), (
        "run: python docs/make_settings.py"
    )
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == module.rules_text(), (
        "run: python docs/make_settings.py"
    )


def test_the_example_of_settings_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the files that the stand-alone simulators make, it passes `check-config` as it is."""
    dmp_simulator.create(tmp_path / "var" / "simulator-dmp")
    example = tmp_path / "gateway.toml"
    example.write_text((ROOT / "docs" / "gateway.example.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["check-config", "--config", str(example)]) == 0, capsys.readouterr().err
    assert "connectors: dmp, mss, errors, dpi" in capsys.readouterr().out


def test_links_of_the_readme_and_the_docs_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_gives_both_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run" in readme and "make test" in readme
    assert (
        "make check" in (ROOT / ".ci" / "run").read_text()
        and "make test" in (ROOT / ".ci" / "run").read_text()
    )


def test_core_rules_have_a_french_sentence_and_a_source() -> None:
    for path in CORE_TABLES:
        for rule in read_rules(path):
            assert rule.text.rstrip().endswith((".", "}", "?", ")", "»")), rule.id
            assert rule.source, rule.id


def test_metrics_are_prefixed_and_described() -> None:
    for metric in Telemetry().registry.collect():
        assert metric.name.startswith("segur_") and metric.documentation


def test_lock_files_name_no_host() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        assert "://" not in lock.read_text()
        assert "--hash=sha256:" in lock.read_text()
