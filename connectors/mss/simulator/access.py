"""How one gets in: test certificates, TLS of the servers, the one password.

Fails: `OSError` when the folder cannot be written.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from connectors.mss.simulator.pki import make_pki

USER = "passerelle"
"""Login of the gateway's own mailbox; every mailbox also opens with its address."""
PASSWORD = "mot-de-passe-de-test"  # noqa: S105  # of the simulator, on loopback
FROM_ADDRESS = "passerelle@test-hopital.mssante.fr"


class Access:
    """`tls`: none, starttls or implicit; the files stand in `directory`."""

    def __init__(self, directory: Path, tls: str, *, client_certificate: bool) -> None:
        self._directory, self._tls, self._client_certificate = directory, tls, client_certificate

    def context(self) -> ssl.SSLContext | None:
        """TLS of the servers; None without TLS."""
        if self._tls == "none":
            return None
        pki = make_pki(self._directory / "pki")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(pki.server.cert, pki.server.key)
        if self._client_certificate:
            context.load_verify_locations(pki.authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def files(self) -> dict[str, str]:
        """Settings of a client: its authority, and its certificate when one is asked for."""
        if self._tls == "none":
            return {}
        pki = make_pki(self._directory / "pki")
        made = {"ca_bundle": str(pki.authority.absolute())}
        if self._client_certificate:
            made["client_cert"] = str(pki.client.cert.absolute())
            made["client_key"] = str(pki.client.key.absolute())
        return made

    def secret_file(self) -> str:
        """The password, in a file that is written once: a client may be reading it when the next one asks."""
        secret = self._directory / "secret"
        if not secret.exists():
            made = secret.with_name("secret.new")
            made.touch(mode=0o600)
            made.write_text(PASSWORD, encoding="utf-8")
            made.replace(secret)
        return str(secret.absolute())
