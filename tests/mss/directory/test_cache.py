"""The cache file: bounded, private, made anew when it is broken. And the circuit's clock."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from connectors.mss.directory.cache import Cache
from connectors.mss.directory.circuit import LONGEST_HOLD, Circuit
from connectors.mss.directory.failures import DirectoryUnavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "cache.sqlite"


def test_an_answer_has_its_age(path: Path) -> None:
    clock = Clock()
    cache = Cache(path, 10, 100, clock)
    cache.put("q", {"a": 1})
    clock.now += 60
    assert cache.get("q") == ({"a": 1}, 60.0)
    assert cache.get("other") is None
    clock.now += 60
    assert cache.get("q") is None
    cache.close()


def test_a_clock_that_was_set_back_makes_no_answer_young_for_ever(path: Path) -> None:
    clock = Clock()
    cache = Cache(path, 10, 100, clock)
    cache.put("q", {})
    clock.now -= 500
    assert cache.get("q") is None
    cache.close()


def test_the_oldest_answers_go_first_and_old_ones_are_erased(path: Path) -> None:
    clock = Clock()
    cache = Cache(path, 3, 100, clock)
    for n in range(5):
        clock.now += 1
        cache.put(f"q{n}", {"n": n})
    assert [cache.get(f"q{n}") is not None for n in range(5)] == [False, False, True, True, True]
    clock.now += 200
    cache.put("last", {})
    cache.close()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT question FROM answer").fetchall() == [("last",)]
    database.close()


def test_the_file_is_its_owners_alone(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    Cache(path, 10, 100).put("q", {})
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_broken_file_is_made_anew(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database " * 1000)
    cache = Cache(path, 10, 100)
    assert cache.get("q") is None
    cache.put("q", {"a": 1})
    found = cache.get("q")
    assert found is not None and found[0] == {"a": 1}
    assert caplog.text.count("WARNING") == 1
    cache.close()


def test_a_file_that_breaks_while_it_is_used(path: Path) -> None:
    cache = Cache(path, 10, 100)
    cache.put("q", {"a": 1})
    with path.open("r+b") as file:
        file.write(b"\0" * 8192)
    cache.close()
    assert cache.get("q") is None
    cache.put("q", {"a": 2})
    found = cache.get("q")
    assert found is not None and found[0] == {"a": 2}
    cache.close()


def test_a_folder_that_cannot_be_written_leaves_the_cache_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache.sqlite", 10, 100)
    cache.put("q", {"a": 1})
    assert cache.get("q") is not None
    assert "kept in memory" in caplog.text and "cache.sqlite" not in caplog.text
    cache.close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    (tmp_path / "cache.sqlite").symlink_to(tmp_path / "precious")
    cache = Cache(tmp_path / "cache.sqlite", 10, 100)
    cache.put("q", {"a": 1})
    assert (tmp_path / "precious").read_bytes() == b"x"
    cache.close()


def test_what_is_no_json_is_no_answer(path: Path) -> None:
    cache = Cache(path, 10, 1e12)
    cache.put("q", {})
    cache.close()
    database = sqlite3.connect(path)
    database.execute("UPDATE answer SET entries = '[1'")
    database.commit()
    database.close()
    assert cache.get("q") is None
    cache.close()


def test_a_locked_file_is_not_erased(path: Path) -> None:
    """The command line and the gateway share it."""
    cache, other = Cache(path, 10, 1e12), Cache(path, 10, 1e12)
    cache.put("q", {"a": 1})
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    other.put("q", {"a": 2})
    assert other.get("q") is None
    lock.execute("ROLLBACK")
    lock.close()
    found = other.get("q")
    assert found is not None and found[0] == {"a": 1}
    other.close()
    cache.close()


# --- circuit ----------------------------------------------------------------------------------------------------


def held(circuit: Circuit) -> bool:
    try:
        circuit.enter()
    except DirectoryUnavailable:
        return True
    return False


def test_one_look_up_tries_while_the_others_are_held() -> None:
    clock = Clock()
    circuit = Circuit(3, 60, clock)
    for _ in range(2):
        circuit.fault("x")
    assert not held(circuit)
    circuit.fault("x")
    assert held(circuit)
    clock.now += 61
    assert [held(circuit), held(circuit)] == [False, True]
    circuit.fault("x")
    clock.now += 59
    assert held(circuit)
    clock.now += 2
    assert not held(circuit)
    circuit.good()
    assert not held(circuit) and not held(circuit)


def test_a_success_between_faults_begins_the_count_anew() -> None:
    circuit = Circuit(2, 60, Clock())
    for _ in range(3):
        circuit.fault("x")
        circuit.good()
    assert not held(circuit)


@pytest.mark.parametrize(("asked", "seconds"), [(10.0, 10.0), (1e9, LONGEST_HOLD)])
def test_the_directory_is_held_off_as_long_as_it_asks(asked: float, seconds: float) -> None:
    clock = Clock()
    circuit = Circuit(3, 60, clock)
    circuit.fault("answered 429", asked)
    assert held(circuit)
    clock.now += seconds - 0.1
    assert held(circuit)
    clock.now += 0.2
    assert not held(circuit)
