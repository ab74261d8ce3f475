"""Settings of a mailbox: what is refused before any connection (spec/mssante.md §1.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.mss.mailbox import ImapSettings, Where

GOOD = {"host": "imap.example.org", "user": "u", "secret_file": "s"}


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"tls": "none"}, "loopback"),
        ({"secret_file": None}, "secret_file"),
        ({"user": ""}, "user"),
        ({"auth": "xoauth2", "secret_file": None}, "secret_file"),
        ({"auth": "external"}, "client_cert"),
        ({"client_key": "k"}, "client_cert"),
        ({"client_key_password_file": "k"}, "client_cert"),
        ({"host": "localhost", "tls": "none", "client_cert": "c", "client_key": "k"}, "needs tls"),
        ({"auth": "none"}, "auth"),
        ({"idle_renew": 1800}, "idle_renew"),
        ({"folder": ""}, "folder"),
        ({"folder": "a\r\nb"}, "one line"),
        ({"user": "u\r\nA LOGOUT"}, "one line"),
        ({"processed": "inbox"}, "folder that is read"),
        ({"folder": "Arrivée", "error": "Arrivée"}, "folder that is read"),
        ({"retry_first": 200}, "retry_first"),
        ({"name": "dr.martin@x.fr"}, "name"),
        ({"max_mail_bytes": 0}, "max_mail_bytes"),
        ({"pol": 3}, "pol"),
    ],
)
def test_incoherent_settings(table: dict[str, Any], word: str) -> None:
    """By field name, never by value of a secret."""
    with pytest.raises(ValidationError, match=word):
        ImapSettings.model_validate({**GOOD, **table})


def test_files_start_from_the_settings_folder() -> None:
    """As everywhere."""
    made = ImapSettings.model_validate(
        {**GOOD, "ca_bundle": "/etc/ca.pem"}, context={"base_dir": Path("/srv")}
    )
    assert made.secret_file == Path("/srv/s") and made.ca_bundle == Path("/etc/ca.pem")


def test_folders_by_outcome() -> None:
    """ "" leaves a mail in place."""
    made = ImapSettings.model_validate({**GOOD, "processed": "Fait", "error": "Erreur"})
    assert [made.folder_for(w) for w in Where] == ["Fait", "Erreur", ""]
