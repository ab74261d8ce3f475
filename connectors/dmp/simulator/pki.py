"""A test PKI that looks like IGC-Santé: authority, ORG AUTH_CLI, ORG SIGN, server (and two
server certificates to be refused).

Purpose: what the DMP simulator and the gateway need to talk to each other with mutual TLS on loopback.
Guarantee: an existing set that is still valid a day is used again; keys are RSA 2048, readable by the owner
only; the authority's key is thrown away.
Fails: `OSError` when the folder cannot be written.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TEST_STRUCTURE = "1990000010"
"""Struct_IdNat of the fictitious establishment: département 99 does not exist."""
FAULTY = {"expired_certificate": "server-expired", "other_certificate": "server-other"}
"""Server certificates that a client must refuse, by the kind of fault that shows them."""
_VALIDITY = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Pki:
    """Where the files are."""

    directory: Path

    @property
    def ca(self) -> Path:
        """Certificate of the authority."""
        return self.directory / "ca.pem"

    def certificate(self, name: str) -> Path:
        """`auth`, `sign`, `server`, or one of `FAULTY`."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Key of that certificate."""
        return self.directory / f"{name}.key"


def _name(common: str, structure: str | None) -> x509.Name:
    parts = [
        (NameOID.COUNTRY_NAME, "FR"),
        (NameOID.STATE_OR_PROVINCE_NAME, "Paris (75)"),
        (NameOID.ORGANIZATION_NAME, "HOPITAL DE TEST"),
    ]
    if structure:
        parts.append((NameOID.ORGANIZATIONAL_UNIT_NAME, structure))
    parts.append((NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in names for name in every})


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _write_key(path: Path, key: rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


class Authority:
    """A certification authority that issues leaves into a folder."""

    def __init__(
        self, directory: Path, now: datetime, common: str = "TEST AC ELEMENTAIRE ORGANISATIONS"
    ) -> None:
        self.directory = directory
        self.now = now
        self._key = _new_key()
        name = _name(common, None)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + _VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def write(self, path: Path) -> None:
        """The authority's certificate."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        structure: str,
        usages: Sequence[str],
        extended: x509.ObjectIdentifier,
        *,
        alternative: Sequence[x509.GeneralName] = (),
        until: datetime | None = None,
        key: rsa.RSAPrivateKey | None = None,
    ) -> rsa.RSAPrivateKey:
        """Write `name.crt` and `name.key`; the key, new unless given."""
        key = key or _new_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(f"test.{name}", structure))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - timedelta(days=2))
            .not_valid_after(until or self.now + _VALIDITY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(*usages), critical=True)
            .add_extension(x509.ExtendedKeyUsage([extended]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        (self.directory / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        _write_key(self.directory / f"{name}.key", key)
        return key

    def issue_organisation(self, structure: str, *, until: datetime | None = None, prefix: str = "") -> None:
        """ORG AUTH_CLI and ORG SIGN of one structure: `<prefix>auth` and `<prefix>sign`."""
        self.issue(
            f"{prefix}auth", structure, ("digital_signature",), ExtendedKeyUsageOID.CLIENT_AUTH, until=until
        )
        self.issue(
            f"{prefix}sign",
            structure,
            ("digital_signature", "content_commitment"),
            ExtendedKeyUsageOID.EMAIL_PROTECTION,
            until=until,
        )


def _reusable(pki: Pki, structure: str, now: datetime) -> bool:
    """True when every file is there, readable and valid for a day, for that structure."""
    try:
        for name in ("auth", "sign", "server"):
            made = x509.load_pem_x509_certificate(pki.certificate(name).read_bytes())
            units = made.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
            if made.not_valid_after_utc < now + timedelta(days=1) or not pki.key(name).is_file():
                return False
            if name != "server" and [u.value for u in units] != [structure]:
                return False
        names = FAULTY.values()
        return pki.ca.is_file() and all(pki.certificate(n).is_file() and pki.key(n).is_file() for n in names)
    except (OSError, ValueError):
        return False


def _issue_server(
    authority: Authority,
    name: str,
    alternative: Sequence[x509.GeneralName],
    *,
    key: rsa.RSAPrivateKey | None = None,
    until: datetime | None = None,
) -> rsa.RSAPrivateKey:
    return authority.issue(
        name,
        "1990000036",
        ("digital_signature", "key_encipherment"),
        ExtendedKeyUsageOID.SERVER_AUTH,
        alternative=alternative,
        until=until,
        key=key,
    )


def make_pki(
    directory: Path, *, structure: str = TEST_STRUCTURE, host: str = "127.0.0.1", now: datetime | None = None
) -> Pki:
    """The PKI of `directory`, made if it is absent or about to expire."""
    now = now or datetime.now(UTC)
    pki = Pki(directory)
    if _reusable(pki, structure, now):
        return pki
    directory.mkdir(parents=True, exist_ok=True)
    authority = Authority(directory, now)
    authority.issue_organisation(structure)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    try:
        address = ipaddress.ip_address(host)
        if str(address) not in ("127.0.0.1", "0.0.0.0"):  # noqa: S104  # compared, not bound
            names.append(x509.IPAddress(address))
    except ValueError:
        names.append(x509.DNSName(host))
    key = _issue_server(authority, "server", names)
    _issue_server(authority, FAULTY["expired_certificate"], names, key=key, until=now - timedelta(days=1))
    stranger = Authority(directory, now, "AUTRE AC DE TEST")
    _issue_server(stranger, FAULTY["other_certificate"], names, key=key)
    authority.write(pki.ca)
    return pki
