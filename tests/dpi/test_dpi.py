"""ZAM deliveries over real MLLP and TLS sockets to the simulated DPI. Source: spec/hl7-transmission.md §2,
§3.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.dpi import plan
from connectors.dpi.connector import DpiConnector, create
from connectors.dpi.simulator import DpiSimulator, send
from connectors.dpi.simulator import create as create_simulator
from connectors.port import ConnectorContext, DeliveryJob, Outcome, OutcomeClass, Predecessor
from fixtures import build
from gateway.errors import ConfigurationFault
from gateway.hl7.acknowledgement import read
from gateway.hl7.framing import encode
from gateway.hl7.message import CHARSETS
from gateway.hl7.transmission import Action
from gateway.hl7.zam import Envelope, ZamError, build_z02
from gateway.mllp import ExchangeFault, Phase

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
ADDRESS = build.DR_MARTIN.address


@pytest.fixture
async def dpi(tmp_path: Path) -> AsyncIterator[DpiSimulator]:
    simulator = create_simulator(tmp_path)
    await simulator.start()
    yield simulator
    await simulator.stop()


def connector(table: dict[str, Any], base: Path = Path()) -> DpiConnector:
    return create(ConnectorContext(table, base, "1.2.3"))


def zam(control_id: str = "ZAM0001", error: ZamError | None = None, label: str = "SIL-ESSAI") -> bytes:
    return build_z02(
        Envelope("PFI-ESSAI", "HOPITAL-ESSAI", label, "HOPITAL-ESSAI", "T"),
        control_id=control_id,
        answered="MSG00001",
        now=NOW,
        occurred=NOW,
        address=ADDRESS,
        error=error,
    )


def job(
    message: bytes, control_id: str = "ZAM0001", recipient: str = "SIL-ESSAI|HOPITAL-ESSAI"
) -> DeliveryJob:
    return DeliveryJob(
        id=1,
        destination="dpi",
        recipient=recipient,
        action=Action.SUBMIT,
        plan=plan.make(control_id, message),
        documents=(),
        attempt=1,
        predecessor=Predecessor.NONE,
        now=NOW,
    )


async def deliver(made: DpiConnector, message: bytes | None = None) -> Outcome:
    await made.start()
    return await made.deliver(job(message or zam()))


async def test_a_zam_arrives_byte_for_byte_and_is_read_by_the_dpi(dpi: DpiSimulator) -> None:
    """§3: ZAM^Z02 with OBX-4, OBX-5, address and ERR-5."""
    message = zam(error=ZamError("552"))
    outcome = await deliver(connector(dpi.connector_settings()), message)
    assert (outcome.outcome, outcome.code) == (OutcomeClass.SUCCESS, "AA")
    (received,) = dpi.received
    assert received.raw == message
    assert (received.type, received.event, received.control_id) == ("ZAM", "Z02", "ZAM0001")
    assert (received.answered, received.indicator, received.address) == ("MSG00001", False, ADDRESS)
    assert received.error[0] == "552"
    assert received.error[1]


@pytest.mark.parametrize(
    ("verdict", "outcome", "code"),
    [
        ("AE", OutcomeClass.PERMANENT, "AE"),
        ("AR", OutcomeClass.TRANSIENT, "AR"),
        ("other", OutcomeClass.TRANSIENT, "MSA-2"),
        ("cut", OutcomeClass.TRANSIENT, "answer"),
        ("garbage", OutcomeClass.TRANSIENT, "ACK"),
    ],
)
async def test_answers(dpi: DpiSimulator, verdict: str, outcome: OutcomeClass, code: str) -> None:
    """§2: AE is final, AR and everything that is no answer to this message is tried again."""
    dpi.plan(verdict)
    made = connector(dpi.connector_settings())
    result = await deliver(made)
    assert (result.outcome, result.code) == (outcome, code)
    assert (await deliver(made)).outcome is OutcomeClass.SUCCESS
    assert [r.control_id for r in dpi.received] == ["ZAM0001", "ZAM0001"]


@pytest.mark.parametrize(
    ("msa", "outcome"),
    [
        ("CA", OutcomeClass.SUCCESS),
        ("CE", OutcomeClass.PERMANENT),
        ("CR", OutcomeClass.TRANSIENT),
    ],
)
async def test_commit_codes_and_an_answer_in_pieces(msa: str, outcome: OutcomeClass) -> None:
    """Table 0008: CA, CE, CR; the answer comes byte by byte, ended by LF."""
    answer = encode(f"MSH|^~\\&|D|H|P|H|20260110||ACK^Z02^ACK|1|P|2.6\nMSA|{msa}|ZAM0001\n".encode())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\x1c\r")
        for i in range(len(answer)):
            writer.write(answer[i : i + 1])
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await deliver(connector({"routes": [{"host": "127.0.0.1", "port": port}]}))
    assert result.outcome is outcome


async def test_words_in_the_place_of_a_code_are_not_kept() -> None:
    """What is kept of an ACK goes to logs of attempts, error mails and MDN: a DPI may write a name anywhere."""
    answer = encode(
        b"MSH|^~\\&|D|H|P|H|20260110||ACK^T02^ACK|1|P|2.6\rMSA|AE|ZAM0001\r"
        b"ERR|||207|E|902\rERR|||DUPONT Marie inconnue|E|INS 279035121518989\r" + b"ERR|||207|E|906\r" * 100
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\x1c\r")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await deliver(connector({"routes": [{"host": "127.0.0.1", "port": port}]}))
    assert result.outcome is OutcomeClass.PERMANENT
    assert (
        result.details["errors"][:3] == ["207/902", "?/?", "207/906"] and len(result.details["errors"]) == 50
    )


async def test_an_endless_answer_without_a_frame_is_given_up() -> None:
    """A peer that speaks something else cannot fill the memory."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"HTTP/1.1 400 Bad Request\r\n" * 1000)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        table = {"routes": [{"host": "127.0.0.1", "port": port}], "max_answer": 10_000}
        result = await deliver(connector(table))
    assert (result.outcome, result.code) == (OutcomeClass.TRANSIENT, "ACK")


async def test_silence_and_a_stopped_dpi_are_transient(dpi: DpiSimulator) -> None:
    """Timeout of the answer; connection refused; back on the same port."""
    table = {**dpi.connector_settings(), "timeouts": {"acknowledgement": 0.2}}
    dpi.plan("silence")
    result = await deliver(connector(table))
    assert (result.outcome, result.code, result.details) == (
        OutcomeClass.TRANSIENT,
        "answer",
        {"timed_out": True},
    )
    made = connector(dpi.connector_settings())
    await dpi.down()
    result = await deliver(made)
    assert (result.outcome, result.code) == (OutcomeClass.TRANSIENT, "connect")
    await dpi.up()
    assert (await deliver(made)).outcome is OutcomeClass.SUCCESS


async def test_routes_from_the_most_exact_to_the_default(tmp_path: Path) -> None:
    """Settings: exact, application, facility, then `*`; none is a configuration fault."""
    routes = [
        {"application": "*", "facility": "*", "host": "d", "port": 1},
        {"application": "*", "facility": "F", "host": "f", "port": 1},
        {"application": "A", "host": "a", "port": 1},
        {"application": "A", "facility": "F", "host": "af", "port": 1},
    ]
    settings = connector({"routes": routes}).settings

    def host(key: str) -> str:
        route = settings.route(key)
        assert route is not None
        return route.host

    keys = ("A|F", "A|X", "B|F", "B|X")
    assert [host(key) for key in keys] == ["af", "a", "f", "d"]
    result = await connector({"routes": routes[2:]}).deliver(job(zam(), recipient="B|X"))
    assert result.outcome is OutcomeClass.TRANSIENT, "the ZAM of other applications must go on"


async def test_latin_9_messages_keep_their_bytes(dpi: DpiSimulator) -> None:
    """MSH-18 8859/15: the plan is text, the wire is the message's charset."""
    message = zam(label="Hôpital €").decode().encode("iso8859-15")
    wanted = job(zam())
    made = connector(dpi.connector_settings())
    sent = DeliveryJob(
        **{f: getattr(wanted, f) for f in DeliveryJob.__dataclass_fields__}
        | {"plan": plan.make("ZAM0001", message, "iso8859-15")}
    )
    assert (await made.deliver(sent)).outcome is OutcomeClass.SUCCESS
    assert dpi.received[0].raw == message


def test_every_readable_charset_has_a_plan() -> None:
    """A ZAM goes back in the sender's charset, whatever the profile says of it."""
    for codec in set(CHARSETS.values()):
        made = plan.read(json.dumps({"control_id": "1", "er7": "MSH|", "charset": codec}).encode())
        assert made.message() == b"MSH|"


async def test_configuration_problems_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault) as fault:
        connector({"routes": [{"host": "", "port": 0}], "unknown": 1})
    assert all(name in str(fault.value) for name in ("routes.0.host", "routes.0.port", "unknown"))
    made = connector({"routes": [{"host": "h", "port": 1, "tls": {"ca_bundle": "absent.pem"}}]}, tmp_path)
    with pytest.raises(ConfigurationFault, match=r"routes\.0\.tls"):
        await made.start()


async def test_tls_routes_check_the_server(tmp_path: Path) -> None:
    """A DPI behind TLS; one of another authority is a configuration fault and gets nothing."""
    from connectors.mss.simulator.pki import make_pki

    pki, stranger = make_pki(tmp_path / "a"), make_pki(tmp_path / "b")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.cert, pki.server.key)
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\x1c\r"))
        writer.write(encode(b"MSH|^~\\&|D|H|P|H|2026||ACK^Z02^ACK|1|P|2.6\rMSA|AA|ZAM0001\r"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]

        def table(authority: Path) -> dict[str, Any]:
            return {"routes": [{"host": "127.0.0.1", "port": port, "tls": {"ca_bundle": str(authority)}}]}

        assert (await deliver(connector(table(pki.authority)))).outcome is OutcomeClass.SUCCESS
        assert (await deliver(connector(table(stranger.authority)))).outcome is OutcomeClass.CONFIGURATION
    assert got == [encode(zam())]


async def test_the_client_sends_a_file_with_lf_as_er7(dpi: DpiSimulator) -> None:
    """`segur-gateway send`: LF files of the samples become CR on the wire; the ACK comes back."""
    message = build.mdm("T02", build.cda_n1())
    answer = await send(dpi.host, dpi.port, message.replace(b"\r", b"\n"))
    assert read(answer).acknowledged == "MSG00001"
    assert dpi.received[0].raw == message
    assert (dpi.received[0].type, dpi.received[0].event) == ("MDM", "T02")
    dpi.plan("cut")
    with pytest.raises(ExchangeFault) as fault:
        await send(dpi.host, dpi.port, message)
    assert fault.value.phase is Phase.ANSWER


async def test_the_connector_takes_no_part_in_the_pre_transaction(dpi: DpiSimulator) -> None:
    made = connector(dpi.connector_settings())
    assert made.report("x", b"", Outcome(OutcomeClass.SUCCESS)) is None
    assert (await made.reconcile(job(zam()))).outcome is OutcomeClass.TRANSIENT
