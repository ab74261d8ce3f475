"""The command line, the settings and the logs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from fixtures import build
from gateway import cli
from gateway.cli import ack_in_words, main
from gateway.errors import ConfigurationFault, Place, Severity
from gateway.logs import JsonFormatter, SafeFormatter, safe_exception
from gateway.rules import Rule, RuleBook, load_rulebook, read_rules
from gateway.settings import load_settings
from tests.exchange.harness import running, submit

# --- settings -------------------------------------------------------------------------------------------------------


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_work_on_loopback() -> None:
    settings, _ = load_settings(None)
    assert (settings.listener.host, settings.listener.port) == ("127.0.0.1", 2575)
    assert settings.web.host == "127.0.0.1"
    assert settings.conformance == "production"


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[listener]\nport = 70000\nidle_timeuot = 3\nallowed_networks = ["10.0.0.0/99"]\n[ack]\ndeadline = -1\n',
    )
    with pytest.raises(ConfigurationFault) as caught:
        load_settings(path)
    for wrong in ("listener.port", "listener.idle_timeuot", "listener.allowed_networks", "ack.deadline"):
        assert wrong in str(caught.value)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, 'conformance = "production"\n[listener]\nport = 1000\nmax_connections = 7\n')
    monkeypatch.setenv("SEGUR_LISTENER__PORT", "2000")
    monkeypatch.setenv("SEGUR_CONFORMANCE", "interop")
    settings, base = load_settings(path)
    assert (settings.listener.port, settings.conformance) == (2000, "interop")
    assert settings.listener.max_connections == 7
    assert base == tmp_path


@pytest.mark.parametrize("text", ["[listener", "\xff"])
def test_a_file_that_cannot_be_read_is_a_configuration_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationFault):
        load_settings(path)


# --- the rule book --------------------------------------------------------------------------------------------------


def rule(**changes: object) -> Rule:
    severity = {"production": Severity.REJECT, "interop": Severity.WARN}
    values = {
        "id": "X",
        "err3": "103",
        "err5": None,
        "severity": severity,
        "invariant": False,
        "text": "t",
        "source": "s",
    }
    return Rule(**(values | changes))  # type: ignore[arg-type]


def test_presets_and_single_overrides() -> None:
    assert RuleBook([rule()], "production").severity("X") is Severity.REJECT
    assert RuleBook([rule()], "interop").severity("X") is Severity.WARN
    off = RuleBook([rule()], "production", {"X": Severity.OFF})
    assert off.finding("X", Place("PID")) is None


def test_a_safety_invariant_is_relaxed_by_no_setting() -> None:
    with pytest.raises(ConfigurationFault, match="invariant"):
        RuleBook([rule(invariant=True)], "production", {"X": Severity.WARN})


def test_invariants_of_the_core_reject_in_every_preset() -> None:
    book = load_rulebook()
    invariants = [
        r for r in book.rules.values() if r.invariant and r.severity["production"] is Severity.REJECT
    ]
    assert len(invariants) > 5
    for r in invariants:
        assert r.severity["interop"] is Severity.REJECT, r.id


@pytest.mark.parametrize(
    "text",
    [
        '[X]\nerr3 = "207"\nproduction = "reject"\ntext = "t"',
        '[X]\nerr3 = "103"\nerr5 = "906"\nproduction = "reject"\ntext = "t"',
        '[X]\nerr3 = "103"\nproduction = "refuse"\ntext = "t"',
        '[X]\nerr3 = "103"\ntext = "t"',
        '[X]\nerr3 = "103"\nproduction = "reject"\ninterop = "warn"\ninvariant = true\ntext = "t"',
    ],
)
def test_a_malformed_rule_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationFault):
        read_rules(path)


# --- command line ---------------------------------------------------------------------------------------------------


def test_check_config_says_everything_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path,
        '[severity]\n"NO-SUCH-RULE" = "warn"\n[connectors.dmp]\nbase_url = "https://dmp.test/"\n[connectors.fax]\n',
    )
    assert main(["check-config", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert "connectors.fax: no such connector" in said
    assert "connectors.dmp" in said


@pytest.mark.parametrize(
    "more", ["", "[listener]\nport = 'x'\n"], ids=["", "with settings that cannot be read"]
)
def test_check_config_hides_no_fault_behind_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str
) -> None:
    text = (
        '[severity]\nNO-SUCH-RULE = "warn"\nNOR-THIS-ONE = "off"\nEXC-TOO-LONG = "warn"\nEXC-INTERNAL = "off"\n'
        '[cda]\npackage = "not-there"\n[connectors.fax]\n'
    )
    assert main(["check-config", "--config", str(write(tmp_path, text + more))]) == 2
    said = capsys.readouterr().err.splitlines()
    for words in ("no such rule, NO-SUCH-RULE", "no such rule, NOR-THIS-ONE", "not-there", "connectors.fax"):
        assert sum(words in line for line in said) == 1, words
    invariants = [line for line in said if "invariant" in line]
    assert len(invariants) >= 1 and all(line.startswith("segur-gateway: severity: ") for line in invariants)
    assert any("listener.port" in line for line in said) == bool(more)


def test_check_config_of_good_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(write(tmp_path, ""))]) == 0
    assert "settings are good" in capsys.readouterr().out


MAILBOX = """
[connectors.mss]
host = "127.0.0.1"
tls = "none"
from_address = "bal@hopital.test"
source_oid = "1.2.250.1.99.9"
[[connectors.mss.mailboxes]]
address = "bal@hopital.test"
host = "127.0.0.1"
tls = "none"
user = "bal"
secret_file = "bal.pass"
dpi = { application = "SIL", facility = "H" }
[connectors.dpi]
routes = [{ application = "SIL", facility = "H", host = "127.0.0.1", port = 2576 }]
"""


def test_check_config_warns_of_what_is_allowed_and_hardly_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "mailboxes.0 (bal): secret_file is not there"
    path = write(tmp_path, MAILBOX)
    assert main(["check-config", "--config", str(path)]) == 0
    said = capsys.readouterr().err
    assert words in said
    (tmp_path / "bal.pass").write_text("x")
    assert main(["check-config", "--config", str(path)]) == 0
    assert words not in capsys.readouterr().err


def test_a_fault_of_a_whole_table_names_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _, routes = MAILBOX.partition("[connectors.dpi]")
    text = first + first[first.index("[[") :] + "[connectors.dpi]" + routes
    assert main(["check-config", "--config", str(write(tmp_path, text))]) == 2
    assert "segur-gateway: connectors.mss: two mailboxes have the same" in capsys.readouterr().err


async def test_send_prints_the_ack_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as r:
        good, bad = tmp_path / "good.er7", tmp_path / "bad.er7"
        good.write_bytes(submit("M1").replace(b"\r", b"\n"))
        bad.write_bytes(build.mdm("T02", b"pas un CDA", document_id="1.2.250.1.99.1", control_id="M2"))
        port = ["--port", str(r.gateway.mllp_port)]
        args = [cli._parser().parse_args(["send", str(f), *port]) for f in (good, bad)]
        assert await cli._send(args[0]) == 0
        assert await cli._send(args[1]) == 1
    said = capsys.readouterr().out
    assert "Réponse AA — accepté (message M1)" in said
    assert "Réponse AE — refusé (erreur) (message M2)" in said
    assert "102 en OBX^1^5" in said


def test_send_of_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", str(tmp_path / "none.er7")]) == 2
    assert "none.er7" in capsys.readouterr().err


@pytest.mark.parametrize("end", [b"\r", b"\n"], ids=["CR", "LF"])
def test_send_of_several_messages_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: bytes
) -> None:
    path = tmp_path / "two.er7"
    path.write_bytes((submit("M1") + submit("M2", 2)).replace(b"\r", end))
    # nobody listens there: a connection would be status 1
    assert main(["send", str(path), "--port", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "two.er7: 2 messages" in line


def test_simulators_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulator", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name}" in said for name in ("dmp", "dpi", "mss"))
    assert main(["simulator"]) == 2


@pytest.mark.parametrize("name, port", [("dmp", 8443), ("dpi", 2576), ("mss", 2525)])
def test_the_help_of_a_simulator_gives_the_defaults(
    capsys: pytest.CaptureFixture[str], name: str, port: int
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["simulator", name, "--help"])
    assert end.value.code == 0
    said = "".join(capsys.readouterr().out.split())
    assert f"(default:{port})" in said and f"(default:var/simulator-{name})" in said


def test_send_to_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.er7"
    path.write_bytes(submit("M1"))
    assert main(["send", str(path), "--port", "1"]) == 1
    assert capsys.readouterr().err


def test_an_ack_in_words_names_place_codes_rule_and_sentence() -> None:
    ack = (
        b"MSH|^~\\&|PFI|H|DPI|H|2026||ACK^T02^ACK|1|T|2.6|||||FRA|UNICODE UTF-8\rMSA|AE|42\r"
        b"ERR||PID^1^3|207^Application error^messageErrorCondition|E|"
        b"904^INS^applicationErrorCondition||INS-1|Une phrase.\r"
    )
    assert ack_in_words(ack).splitlines() == [
        "Réponse AE — refusé (erreur) (message 42)",
        "  - 207 / 904 en PID^1^3 [INS-1] : Une phrase.",
    ]


# --- logs -----------------------------------------------------------------------------------------------------------


def failing() -> BaseException:
    try:
        try:
            {}["DURAND"]
        except KeyError as e:
            raise ConfigurationFault("a setting is wrong") from e
    except ConfigurationFault as e:
        return e
    raise AssertionError


def test_the_text_of_a_foreign_exception_is_never_logged() -> None:
    said = safe_exception(failing())
    assert "ConfigurationFault: a setting is wrong" in said
    assert "caused by KeyError" in said
    assert "test_cli_settings_logs.py" in said
    assert "DURAND" not in said


@pytest.mark.parametrize("formatter", [JsonFormatter(), SafeFormatter("%(message)s")])
def test_formatters_use_it(formatter: logging.Formatter) -> None:
    error = failing()
    record = logging.LogRecord(
        "gateway", logging.ERROR, __file__, 1, "it failed", None, (type(error), error, error.__traceback__)
    )
    line = formatter.format(record)
    assert "it failed" in line and "ConfigurationFault" in line and "DURAND" not in line
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["level"] == "ERROR"


def test_what_is_wrong_with_the_indicators_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short").write_bytes(b"secret")
    table = '[indicators]\nsecret_file = "short"\n'
    assert main(["check-config", "--config", str(write(tmp_path, table))]) == 2
    assert "secret_file: at least 32 bytes" in capsys.readouterr().err
    zone = '[indicators.time_zones]\n750000001 = "Europe/Nulle-Part"\n'
    assert main(["check-config", "--config", str(write(tmp_path, zone))]) == 2
    assert "Europe/Nulle-Part" in capsys.readouterr().err
    off = '[indicators]\nenabled = false\nsecret_file = "none"\n'
    assert main(["check-config", "--config", str(write(tmp_path, off))]) == 0
