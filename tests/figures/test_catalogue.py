"""A catalogue that is changed while the gateway is at work: no restart, and what is bad is never in use."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import httpx
import pytest

from gateway.errors import ConfigurationFault
from gateway.journal import figures
from indicators import in_use
from indicators.catalogue import PATH, chosen
from indicators.in_use import CatalogueInUse
from tests.access.people import browser, first
from tests.exchange.harness import Running, running
from tests.figures.test_monthly import Time, at_work
from tests.figures.world import FINESS, WEB, Client, delivery, figure, stay, tell

TEXT = PATH.read_text(encoding="utf-8")
CUTOFF = "cutoff_days:\n    value: 10"
OWN = {"catalogue": "own.yaml"}


def version(name: str, cutoff: int = 10, text: str = TEXT) -> str:
    """The catalogue under another version."""
    assert text.count(CUTOFF) == 1
    _, _, rest = text.partition("\nversion: ")
    _, _, rest = rest.partition("\n")
    return f'version: "{name}"\n{rest}'.replace(CUTOFF, f"cutoff_days:\n    value: {cutoff}")


def settled(path: Path, text: str) -> None:
    """Written some time ago: its time and size tell it."""
    path.write_text(text, encoding="utf-8")
    old = time.time() - 60
    os.utime(path, (old, old))


# --- the file alone ------------------------------------------------------------------------------------------------


@pytest.mark.sqlite
async def test_a_changed_file_is_in_use_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    settled(path, version("one"))
    used = CatalogueInUse(path, {"9704": "Indian/Mayotte"})
    assert (used.catalogue.version, used.since) == ("one", 0.0)
    path.write_text(version("two"), encoding="utf-8")
    assert (await used.look()).version == "two"
    assert used.text == version("two") and used.since > 0
    assert used.catalogue.time_zones["9704"] == "Indian/Mayotte", "the settings stay over it"
    # written twice in one instant, as long as before
    now = time.time()
    for name in ("six", "ten"):
        path.write_text(version(name), encoding="utf-8")
        os.utime(path, (now, now))
        assert (await used.look()).version == name
    # the same content again is not another catalogue
    since = used.since
    settled(path, version("ten"))
    await used.look()
    assert used.since == since


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "text",
    [
        # as a date that is none: not an error of YAML's own
        TEXT.replace('version: "2026-11-30"', "version: 2026-11-31", 1),
        "a: " + 3000 * "[",
        # the beginning of a file that is being copied
        TEXT[: TEXT.index("\n  ALI-4:")],
        TEXT.replace("\nindicators:", "\nindicators: {}\nothers:", 1),
        # a zone that was not written yet, and none for all others
        TEXT.replace("\ntime_zones:\n", "\ntime_zones:\n  '9799':\n", 1),
        TEXT.replace("\ntime_zones:\n", "\ntime_zones: {}\nzones:\n", 1),
    ],
)
async def test_what_is_nearly_a_catalogue_is_told_and_not_used(tmp_path: Path, text: str) -> None:
    assert text != TEXT
    path = tmp_path / "own.yaml"
    settled(path, TEXT)
    used = CatalogueInUse(path, {})
    before = used.catalogue
    path.write_text(text, encoding="utf-8")
    assert await used.look() is before and "n'est pas utilisable" in used.fault
    with pytest.raises(ConfigurationFault, match=r"own\.yaml"):
        CatalogueInUse(path, {})
    with pytest.raises(ConfigurationFault, match=r"own\.yaml"):
        chosen(path, {})
    path.write_text(version("two"), encoding="utf-8")
    assert (await used.look()).version == "two" and used.fault == ""


@pytest.mark.sqlite
async def test_a_file_that_did_not_change_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.yaml"
    settled(path, version("one"))
    used = CatalogueInUse(path, {})

    def read(path: Path) -> object:
        raise AssertionError("read again")

    monkeypatch.setattr(in_use, "_read", read)
    assert (await used.look()).version == "one"


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("version: [", "ParserError"),
        ("", "malformed"),
        ("version: '1'", "KeyError 'systems'"),
        (version("x").replace("among: [keep, remove]", "among: [neither]"), "deleted_documents"),
        (version("x").replace("default: Europe/Paris", "default: Mars/Olympus"), "Mars/Olympus"),
        (b"version: \xff", "UnicodeDecodeError"),
        (None, "No such file"),
    ],
)
async def test_a_bad_file_is_told_in_french_and_the_last_good_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: str | bytes | None, told: str
) -> None:
    path = tmp_path / "own.yaml"
    settled(path, version("one"))
    used = CatalogueInUse(path, {})
    if bad is None:
        path.unlink()
    else:
        path.write_bytes(bad.encode() if isinstance(bad, str) else bad)
    with caplog.at_level(logging.INFO, "gateway.indicators"):
        for _ in range(3):
            assert (await used.look()).version == "one"
    assert used.text == version("one"), "the worker is given the good one"
    assert used.fault.startswith("Le catalogue des indicateurs own.yaml n'est pas utilisable (")
    assert used.fault.endswith("la version one, lue avant, reste en usage.") and told in used.fault
    assert caplog.messages == [used.fault], "once"
    # it comes back as it was
    settled(path, version("one"))
    assert (await used.look()).version == "one" and not used.fault and used.since == 0
    # or it is put right
    path.write_text("version: [", encoding="utf-8")
    await used.look()
    path.write_text(version("two"), encoding="utf-8")
    assert (await used.look()).version == "two" and not used.fault


@pytest.mark.sqlite
def test_the_first_reading_needs_a_good_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match=r"none\.yaml"):
        CatalogueInUse(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigurationFault, match="Mars/Olympus"):
        CatalogueInUse(None, {"9704": "Mars/Olympus"})


# --- a gateway at work -----------------------------------------------------------------------------------------------


async def versions(r: Running) -> dict[str, tuple[int, str]]:
    found = await r.gateway.journal.read(figures.heads)
    return {h.month: (h.revision, h.catalogue_version) for h in found if h.finess == FINESS}


async def test_figures_pages_and_worker_follow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(version("one"), encoding="utf-8")
    async with running(tmp_path, **WEB, indicators=OWN) as r:
        service, monthly = at_work(r, Time("2025-03-05T12:00:00+01:00"))
        client = Client(r)
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        assert await versions(r) == {"2025-02": (0, "one"), "2025-03": (0, "one")}
        machine = service.books.machine.pid
        # a later cut-off: no fact came, what is provisional is made again all the same
        path.write_text(version("two", 20), encoding="utf-8")
        told = await client.month("month=2025-02")
        assert told["catalogue_version"] == "two" and figure(told) == (1, 2)
        assert {x["cutoff"] for x in told["rows"]} == {"2025-03-21T00:00:00+01:00"}
        assert (await client.get("/catalogue")).json()["options"]["cutoff_days"]["value"] == 20
        assert service.books.machine.pid == machine, "by the same worker"
        await monthly.run_once()
        assert await versions(r) == {"2025-02": (0, "two"), "2025-03": (0, "two")}
        # under the same version, which nobody may have thought of
        path.write_text(version("two", 2), encoding="utf-8")
        await monthly.run_once()
        assert await versions(r) == {"2025-02": (1, "two"), "2025-03": (0, "two")}, "its cut-off has passed"
        # what is published stays as it was published
        path.write_text(version("three", 10), encoding="utf-8")
        await monthly.run_once()
        assert await versions(r) == {"2025-02": (1, "two"), "2025-03": (0, "three")}
        past = await client.month("month=2025-02&as_of=2025-03-04T00:00:00%2B01:00")
        assert {x["cutoff"] for x in past["rows"]} == {"2025-03-11T00:00:00+01:00"}


@pytest.mark.sqlite
async def test_a_bad_catalogue_warns_and_the_figures_go_on(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(version("one"), encoding="utf-8")
    async with running(tmp_path, **WEB, indicators=OWN) as r:
        service, monthly = at_work(r, Time("2025-03-05T12:00:00+01:00"))
        client = Client(r)
        await tell(r, [*stay(1), delivery(1)])
        await monthly.run_once()
        path.write_text("version: [", encoding="utf-8")
        async with httpx.AsyncClient(base_url=client.url) as anybody:
            ready = await anybody.get("/readyz")
        assert ready.status_code == 200
        warning = ready.json()["warnings"]["indicators_catalogue"]
        assert warning.startswith("Le catalogue des indicateurs") and warning.endswith("reste en usage.")
        # the worker was not there when it was good
        await service.books.machine._kill()
        await tell(r, [*stay(2)])
        told = await client.month("month=2025-02")
        assert (told["catalogue_version"], told["stale"], figure(told)) == ("one", False, (1, 2))
        path.write_text(version("two"), encoding="utf-8")
        assert "indicators_catalogue" not in await r.gateway.warnings()
        assert (await client.month("month=2025-02"))["catalogue_version"] == "two"


@pytest.mark.sqlite
async def test_the_pages_show_the_new_definitions(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(version("one"), encoding="utf-8")
    async with running(tmp_path, **WEB, indicators=OWN) as r, browser(r) as person:
        await first(r, person)
        page = await person.get("/indicateurs/definitions")
        assert page.status_code == 200 and "Compte rendu opératoire" in page.text
        renamed = version("two").replace('"Compte rendu opératoire"', '"Compte rendu du bloc"')
        path.write_text(renamed, encoding="utf-8")
        page = await person.get("/indicateurs/definitions")
        assert "Compte rendu du bloc" in page.text and "Compte rendu opératoire" not in page.text
