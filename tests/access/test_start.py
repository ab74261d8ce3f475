"""The first administrator's link at a start, and what check-config says of who could see the pages."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest

from gateway.cli import main
from tests.acceptance.process import PATIENCE, REPOSITORY
from tests.access.people import ADMIN, PASSWORD

pytestmark = pytest.mark.sqlite
CONFIG = '[listener]\nport = 0\n[web]\nport = 0\n[journal]\npath = "journal.sqlite"\n[log]\nlevel = "ERROR"\n'


async def started(directory: Path) -> tuple[asyncio.subprocess.Process, list[str]]:
    """`segur-gateway run`, and its lines until it says no more of itself (`ready`, then the link when there is one)."""
    (directory / "gateway.toml").write_text(CONFIG)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "run", "--config", str(directory / "gateway.toml"),
        cwd=REPOSITORY, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        lines = [(await process.stdout.readline()).decode()]
    return process, lines


async def stopped(process: asyncio.subprocess.Process) -> list[str]:
    """Its remaining lines, once it ended."""
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        rest = (await process.stdout.read()).decode().splitlines()
        assert await process.wait() == 0
    return rest


@pytest.mark.slow
async def test_a_start_without_any_administrator_prints_a_link_after_the_line_that_scripts_read(
    tmp_path: Path,
) -> None:
    process, lines = await started(tmp_path)
    assert process.stdout is not None
    assert re.fullmatch(r"ready mllp=127\.0\.0\.1:\d+ web=http://127\.0\.0\.1:\d+/\n", lines[0])
    async with asyncio.timeout(PATIENCE):
        line = (await process.stdout.readline()).decode()
    found = re.fullmatch(
        r"aucun administrateur : .*24 h\) : (http://127\.0\.0\.1:\d+)/premier-acces#([\w-]{43})\n", line
    )
    assert found is not None, line
    base, secret = found.groups()
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE) as http:
        assert (await http.get("/")).status_code == 200, "open on loopback"
        page = (await http.get("/premier-acces")).text
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        data = {"csrf": csrf, "code": secret, "login": ADMIN, "password": PASSWORD, "again": PASSWORD}
        assert (await http.post("/premier-acces", data=data)).status_code == 303
        assert (await http.get("/comptes")).status_code == 200
    assert await stopped(process) == []
    process, lines = await started(tmp_path)
    assert lines[0].startswith("ready ")
    assert await stopped(process) == [], "there is an account"


def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], web: str) -> tuple[int, str]:
    (tmp_path / "gateway.toml").write_text(f"[web]\n{web}\n")
    status = main(["check-config", "--config", str(tmp_path / "gateway.toml")])
    return status, capsys.readouterr().err


def test_check_config_says_who_could_see_the_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_words, clear_words = "without a log-in", "passwords and tokens go in clear"
    for web, expected in (
        ("", set()),
        ('host = "0.0.0.0"', {clear_words}),
        ('host = "0.0.0.0"\nopen_pages = true', {open_words, clear_words}),
        ('host = "0.0.0.0"\npublic_url = "https://x.test"', set()),
        ('public_url = "https://x.test"\nopen_pages = true', {open_words}),
        ('host = "0.0.0.0"\naccounts = { enabled = false }', set()),
    ):
        status, text = said(tmp_path, capsys, web)
        assert status == 0, text
        assert {w for w in (open_words, clear_words) if w in text} == expected, web


def test_check_config_says_what_is_wrong_with_access(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oidc = 'oidc = { issuer = "https://x.test", client_id = "x", client_secret_file = "secret" }'
    for web, words in (
        ('tokens = "tokens.toml"', "tokens"),
        (oidc, "client_secret_file"),
        (oidc.replace("https", "http"), "issuer must begin with https"),
        (oidc.replace("}", ', role_claim = "groups" }'), "role_claim and roles go together"),
        (oidc + "\naccounts = { enabled = false }", "oidc needs accounts"),
        ('public_url = "https://x.test/path"', "public_url"),
        ('public_url = "x.test"', "public_url"),
        ('trusted_proxies = ["proxy"]', "proxy"),
        ("accounts = { password_length = 8 }", "password_length"),
    ):
        status, text = said(tmp_path, capsys, web)
        assert status == 2 and words in text, (web, text)
