"""Postfix and Dovecot from the distribution, on free loopback ports, as a real operator: spec/mssante.md §8.

`local.mssante.fr` is delivered by Postfix to Dovecot (LMTP); `remote.mssante.fr` goes to `remote_port`, where a test
listens and plays another operator. Any user logs in with `PASSWORD`; the client certificate opens the mailbox of its
common name, `APPLICATIVE` (EXTERNAL). Everything stands in one folder that is removed afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.mss.simulator.pki import Pki, make_pki

PASSWORD = "mot-de-passe-de-test"
PFI = "pfi@local.mssante.fr"
DOCTOR = "dr.hoda@local.mssante.fr"
APPLICATIVE = "passerelle-de-test@local.mssante.fr"
REMOTE = "dr.martin@remote.mssante.fr"
_NOBODY = 65_534
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str:
    """Why these servers cannot be started here; "" when they can."""
    absent = [name for name in ("postfix", "postconf", "dovecot", "doveadm") if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install postfix dovecot-imapd dovecot-lmtpd"
    if os.geteuid() != 0:
        return "Postfix starts as root only"
    return ""


@dataclass(frozen=True, slots=True)
class MailServers:
    """Running servers."""

    directory: Path
    smtp_port: int
    imap_port: int
    """STARTTLS."""
    imaps_port: int
    remote_port: int
    pki: Pki

    def smtp_settings(self) -> dict[str, Any]:
        """A `[connectors.mss]` table."""
        return {
            "host": "localhost",
            "port": self.smtp_port,
            "tls": "starttls",
            "ca_bundle": self.pki.authority,
            "from_address": PFI,
            "source_oid": "1.2.250.1.999.1.1",
        }

    def imap_settings(self, user: str = PFI, tls: str = "implicit") -> dict[str, Any]:
        """An item of `[[connectors.mss.mailboxes]]`."""
        return {
            "host": "localhost",
            "port": self.imaps_port if tls == "implicit" else self.imap_port,
            "tls": tls,
            "ca_bundle": self.pki.authority,
            "user": user,
            "secret_file": self.directory / "secret",
        }

    def logs(self) -> str:
        """What both servers logged, for a failing test."""
        return "\n".join(p.read_text(errors="replace") for p in self.directory.glob("*.log"))


@contextlib.contextmanager
def running() -> Iterator[MailServers]:
    """Start both, stop both. Raises `RuntimeError` with their logs when one does not start."""
    # not pytest's folder: the servers' own users cannot enter it, and names of sockets are short
    directory = Path(tempfile.mkdtemp(prefix="mx-"))
    directory.chmod(0o755)
    ports = _free_ports(5)
    servers = MailServers(directory, *ports[:4], make_pki(directory / "pki"))
    (directory / "secret").write_text(PASSWORD)
    _write_dovecot(servers, ports[4])
    _write_postfix(servers, ports[4])
    dovecot = subprocess.Popen(["dovecot", "-F", "-c", str(directory / "dovecot.conf")])
    postfix = ["postfix", "-c", str(directory / "postfix")]
    try:
        started = subprocess.run([*postfix, "start"], capture_output=True, text=True, timeout=60)
        if started.returncode:
            raise RuntimeError(started.stderr + servers.logs())
        for port in (servers.smtp_port, servers.imap_port, servers.imaps_port, ports[4]):
            _wait_for(port, servers)
        yield servers
    finally:
        subprocess.run([*postfix, "stop"], capture_output=True, timeout=60)
        dovecot.terminate()
        dovecot.wait(timeout=30)
        shutil.rmtree(directory, ignore_errors=True)


def _write_dovecot(servers: MailServers, lmtp_port: int) -> None:
    here = servers.directory
    mails = here / "mails"
    mails.mkdir()
    os.chown(mails, _NOBODY, _NOBODY)
    (here / "dovecot.conf").write_text(f"""\
protocols = imap lmtp
listen = 127.0.0.1
base_dir = {here}/run
state_dir = {here}/state
log_path = {here}/dovecot.log
ssl = yes
ssl_cert = <{servers.pki.server.cert}
ssl_key = <{servers.pki.server.key}
ssl_ca = <{servers.pki.authority}
ssl_verify_client_cert = yes
ssl_require_crl = no
ssl_min_protocol = TLSv1.2
auth_mechanisms = plain login external
auth_ssl_username_from_cert = yes
auth_default_realm = local.mssante.fr
mail_location = maildir:{mails}/%u
first_valid_uid = 1
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=y
}}
passdb {{
  driver = static
  mechanisms = plain login
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={_NOBODY} gid={_NOBODY} home={mails}/%u allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = {servers.imap_port}
  }}
  inet_listener imaps {{
    port = {servers.imaps_port}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
""")


def _write_postfix(servers: MailServers, lmtp_port: int) -> None:
    here = servers.directory
    for name in ("postfix", "spool", "data"):
        (here / name).mkdir()
    shutil.chown(here / "data", "postfix")
    (here / "postfix" / "master.cf").write_text(_MASTER.format(port=servers.smtp_port))
    (here / "postfix" / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {here}/spool
data_directory = {here}/data
maillog_file = {here}/postfix.log
maillog_file_prefixes = {here}
myhostname = mx.local.mssante.fr
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = local.mssante.fr
virtual_mailbox_maps = inline:{{{{{PFI}=x}},{{{DOCTOR}=x}},{{{APPLICATIVE}=x}}}}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp_port}
transport_maps = inline:{{{{remote.mssante.fr=smtp:[127.0.0.1]:{servers.remote_port}}}}}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {servers.pki.server.cert}
smtpd_tls_key_file = {servers.pki.server.key}
smtp_tls_security_level = none
bounce_queue_lifetime = 1h
message_size_limit = 60000000
""")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def _wait_for(port: int, servers: MailServers) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}\n{servers.logs()}")
