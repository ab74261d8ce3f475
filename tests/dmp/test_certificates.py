"""Certificates (EX_GEN-1450): PKCS#12 or PEM, renewed without a restart, their end as a metric."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from connectors.dmp.certificates import load_credentials
from connectors.dmp.connector import DmpConnector
from connectors.dmp.settings import read_settings
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator.pki import TEST_STRUCTURE, Authority, Pki, make_pki
from connectors.port import OutcomeClass, WithCertificates
from gateway.errors import ConfigurationFault
from tests.dmp.conftest import Dpi, connector_for
from tests.xds import samples

NOW = datetime.now(UTC)


def as_pkcs12(pki: Pki, name: str, target: Path, phrase: bytes = b"secret") -> Path:
    certificate = x509.load_pem_x509_certificate(pki.certificate(name).read_bytes())
    authority = x509.load_pem_x509_certificate(pki.ca.read_bytes())
    key = serialization.load_pem_private_key(pki.key(name).read_bytes(), None)
    target.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"x",
            key,
            certificate,
            [authority],
            serialization.BestAvailableEncryption(phrase),  # type: ignore[arg-type]
        )
    )
    return target


@pytest.fixture
def p12(simulator: DmpSimulator, tmp_path: Path) -> dict[str, Any]:
    """Settings with two PKCS#12 of different pass phrases."""
    (tmp_path / "auth.txt").write_text("secret\n")
    (tmp_path / "sign.txt").write_text("autre")
    settings = {
        **simulator.connector_settings(),
        "auth_certificate": str(as_pkcs12(simulator.pki, "auth", tmp_path / "auth.p12")),
        "sign_certificate": str(as_pkcs12(simulator.pki, "sign", tmp_path / "sign.p12", b"autre")),
        "key_password_file": str(tmp_path / "auth.txt"),
        "sign_password_file": str(tmp_path / "sign.txt"),
    }
    del settings["auth_key"], settings["sign_key"]
    return settings


async def test_a_document_goes_with_pkcs12_certificates(simulator: DmpSimulator, p12: dict[str, Any]) -> None:
    connector = await connector_for(p12)
    outcome = await connector.deliver(await Dpi(connector).job(samples.document()))
    await connector.stop()
    assert outcome.outcome is OutcomeClass.SUCCESS


async def test_pkcs12_chain_is_ordered_from_the_leaf(p12: dict[str, Any]) -> None:
    made = load_credentials(read_settings(p12, Path()), NOW)
    leaf, authority = made.signing.chain
    leaf.verify_directly_issued_by(authority)


async def test_wrong_pass_phrase_and_pem_without_key_are_told(
    p12: dict[str, Any], tmp_path: Path, pki: Pki
) -> None:
    (tmp_path / "sign.txt").write_text("wrong")
    p12["auth_certificate"] = str(pki.certificate("auth"))
    with pytest.raises(ConfigurationFault) as fault:
        load_credentials(read_settings(p12, Path()), NOW)
    assert "auth_certificate cannot be read as PKCS#12" in str(fault.value)
    assert "sign_certificate cannot be read as PKCS#12" in str(fault.value)
    assert "wrong" not in str(fault.value)


def test_no_key_stays_in_a_temporary_file(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    load_credentials(read_settings(DmpSimulator(pki.directory.parent).connector_settings(), Path()), NOW)
    assert list(tmp_path.iterdir()) == []


# --- renewal ----------------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def own_files(simulator: DmpSimulator, tmp_path: Path) -> dict[str, Any]:
    """Settings whose certificate files are copies that a test may replace; looked at all the time."""
    settings: dict[str, Any] = {**simulator.connector_settings(), "certificate_check": 0.05}
    for name in ("auth_certificate", "auth_key", "sign_certificate", "sign_key"):
        settings[name] = shutil.copy(settings[name], tmp_path / name)
    return settings


def replace_with(settings: dict[str, Any], pki: Pki, *names: str) -> None:
    for name in names:
        for part, source in (("certificate", pki.certificate(name)), ("key", pki.key(name))):
            new = Path(settings[f"{name}_{part}"]).with_suffix(".new")
            shutil.copy(source, new)
            new.replace(settings[f"{name}_{part}"])


async def test_renewed_certificates_are_used_without_a_restart(
    simulator: DmpSimulator, own_files: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Certificates of another authority are refused; the right ones put back work, in the same process."""
    connector = await connector_for(own_files)
    dpi = Dpi(connector)
    assert (await connector.deliver(await dpi.job(samples.document()))).outcome is OutcomeClass.SUCCESS
    replace_with(own_files, make_pki(tmp_path / "other"), "auth", "sign")
    await until(lambda: "in use" in caplog.text)
    job = await dpi.job(samples.document())
    assert (await connector.deliver(job)).outcome in (OutcomeClass.TRANSIENT, OutcomeClass.CONFIGURATION)
    caplog.clear()
    replace_with(own_files, simulator.pki, "auth", "sign")
    await until(lambda: "in use" in caplog.text)
    again = await connector.deliver(await dpi.job(samples.document(), predecessor_uids=()))
    assert again.code == "XDSDuplicateUniqueIdInRegistry"  # it was heard
    await connector.stop()


async def test_unfit_certificates_are_never_taken(
    simulator: DmpSimulator, own_files: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A key without its certificate, half of a renewal: the former set goes on, one alert."""
    connector = await connector_for(own_files)
    Path(own_files["sign_key"]).write_bytes(simulator.pki.key("auth").read_bytes())
    await until(lambda: "cannot be used" in caplog.text)
    await asyncio.sleep(0.2)
    assert caplog.text.count("the former ones stay") == 1
    outcome = await connector.deliver(await Dpi(connector).job(samples.document()))
    assert outcome.outcome is OutcomeClass.SUCCESS
    await connector.stop()


async def test_certificates_laid_down_before_their_first_day_are_taken_on_it(
    own_files: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Renewal prepared in advance: refused today with one alert, used when it begins, the files untouched."""
    now = [NOW]
    connector = DmpConnector(read_settings(own_files, Path()), "0.1", lambda: now[0])
    await connector.start()
    later = Pki(tmp_path / "later")
    later.directory.mkdir()
    Authority(later.directory, NOW + timedelta(days=30)).issue_organisation(TEST_STRUCTURE)
    replace_with(own_files, later, "auth", "sign")
    await until(lambda: "is not valid before" in caplog.text)
    before = connector.certificates()
    await asyncio.sleep(0.2)
    now[0] = NOW + timedelta(days=29)
    await until(lambda: "in use" in caplog.text)
    assert all(end > before[name] for name, end in connector.certificates().items())
    await connector.stop()


async def test_end_of_validity_is_measured_and_said(
    simulator: DmpSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**simulator.connector_settings(), "expiry_warning_days": 400}
    with caplog.at_level(logging.CRITICAL):
        connector = await connector_for(settings)
    assert isinstance(connector, WithCertificates)
    ends = connector.certificates()
    assert set(ends) == {"auth_certificate", "sign_certificate"}
    assert all(NOW < end < NOW + timedelta(days=370) for end in ends.values())
    assert "auth_certificate expires on" in caplog.text
    await connector.stop()
    assert DmpConnector(read_settings(settings, Path()), "0").certificates() == {}
