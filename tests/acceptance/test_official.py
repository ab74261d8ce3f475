"""Every official sample of the volet Transmission v2.1 over real MLLP, `interop` preset (skipped where absent).

They all bear MSH-10 `015`: each gets its own. The same scenarios run on synthetic fixtures in `test_main_job.py`.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from tests.acceptance.process import Counterparts, GatewayProcess, world
from tests.official import OFFICIAL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.official,
    pytest.mark.skipif(
        not (OFFICIAL / "hl7" / "transmission-v2.1").exists(), reason="official samples absent"
    ),
]

FOLDER = OFFICIAL / "hl7" / "transmission-v2.1"
INIT = "mdm/message_MDM_CR_Radio_INIT_N1_Base64.er7"
RPLC = "mdm/message_MDM_CR_Radio_RPLC_N1.er7"
PLACEHOLDER = "mdm/message_MDM_CR_Radio_INIT_N1.er7"
ORU = "oru/message_ORU_CR_Bio_INIT_N3_SEGUR.hl7"
HODA = "adam.hoda@test-ci-sis.mssante.fr"
V1 = "1.2.250.1.71.4.2.2.120456789.71024000081"
V2 = "1.2.250.1.71.4.2.2.120456789.71024000082"


def sample(name: str, control_id: str) -> bytes:
    raw = (FOLDER / name).read_bytes()
    head, tail = raw.split(b"\n", 1)
    return head.replace(b"|015|", f"|{control_id}|".encode(), 1) + b"\n" + tail


def deletion(control_id: str) -> bytes:
    """A T04 of the version that the RPLC sample brings (there is no such sample in the folder)."""
    raw = sample(RPLC, control_id)
    raw = raw.replace(b"MDM^T10^MDM_T02", b"MDM^T04^MDM_T02").replace(b"\nORC|RO|", b"\nORC|CA|")
    return re.sub(rb"(\nOBX\|1\|.*)\|[FC]\|(\r?\n)", rb"\1|D|\2", raw)


def cda_of(raw: bytes) -> bytes:
    text = re.search(rb"\^Base64\^([A-Za-z0-9+/=]+)\|", raw)
    assert text is not None
    return base64.b64decode(text.group(1) + b"==")


async def final(gateway: GatewayProcess, control_id: str) -> dict[str, str]:
    return {d["destination"]: d["state"] for d in (await gateway.settled(control_id)).values()}


def in_dmp(there: Counterparts) -> dict[str, tuple[str, bytes]]:
    return {
        uid: (e.status, e.content) for uid, e in there.dmp.documents.items() if not uid.startswith("2.25.")
    }


async def test_init_then_rplc_then_deletion(tmp_path: Path) -> None:
    async with world(tmp_path, "interop", dmp={"strict": False}) as (gateway, there):
        await gateway.start()
        ack = await gateway.send(sample(INIT, "A1"))
        assert (ack.code, ack.acknowledged) == ("AA", "A1"), ack
        assert await final(gateway, "A1") == {"dmp": "succeeded", "mss": "succeeded"}
        assert in_dmp(there) == {V1: ("Approved", cda_of(sample(INIT, "A1")))}
        assert [m.recipient for m in there.mss.mails] == [HODA]
        assert there.mss.mails[0].documents()["IHE_XDM/SUBSET01/DOC0001.XML"] == cda_of(sample(INIT, "A1"))

        assert (await gateway.send(sample(RPLC, "A2"))).code == "AA"
        assert await final(gateway, "A2") == {"dmp": "succeeded", "mss": "succeeded"}
        assert {uid: status for uid, (status, _) in in_dmp(there).items()} == {
            V1: "Deprecated",
            V2: "Approved",
        }
        assert in_dmp(there)[V2][1] == cda_of(sample(RPLC, "A2"))

        ack = await gateway.send(deletion("A3"))
        assert ack.code == "AA", ack
        assert await final(gateway, "A3") == {"dmp": "succeeded", "mss": "succeeded"}
        assert in_dmp(there)[V2][0] == "Deleted"


async def test_the_placeholder_is_refused_at_its_place(tmp_path: Path) -> None:
    async with world(tmp_path, "interop") as (gateway, there):
        await gateway.start()
        ack = await gateway.send(sample(PLACEHOLDER, "A1"))
        assert ack.code == "AE"
        assert [(e.location, e.err3) for e in ack.errors] == [("OBX^1^5", "102")]
        assert not there.mss.mails and not there.dmp.events


async def test_init_twice_replays_and_publishes_nothing_twice(tmp_path: Path) -> None:
    async with world(tmp_path, "interop", dmp={"strict": False}) as (gateway, there):
        await gateway.start()
        first = await gateway.send_raw(sample(INIT, "A1"))
        await gateway.settled("A1")
        assert await gateway.send_raw(sample(INIT, "A1")) == first
        await gateway.settled("A1")
        assert len(there.mss.mails) == 1
        assert [e.action for e in there.dmp.events] == ["submit"]


async def test_rplc_first(tmp_path: Path) -> None:
    """V1 was never seen here: accepted with a warning; the DMP does not know it either and refuses; the mail goes."""
    async with world(tmp_path, "interop", dmp={"strict": False}) as (gateway, _there):
        await gateway.start()
        assert (await gateway.send(sample(RPLC, "A1"))).code == "AA"
        assert await final(gateway, "A1") == {"dmp": "refused", "mss": "succeeded"}
        rules = {f["rule"] for f in (await gateway.message("A1"))["findings"]}
        assert "CDA-V-UNKNOWN" in rules


async def test_oru_with_its_document(tmp_path: Path) -> None:
    async with world(tmp_path, "interop", dmp={"strict": False}) as (gateway, there):
        await gateway.start()
        ack = await gateway.send(sample(ORU, "A1"))
        assert ack.code == "AA", ack
        states = await final(gateway, "A1")
        assert states["dmp"] == "succeeded", (await gateway.message("A1"))["deliveries"]
        assert HODA in [m.recipient for m in there.mss.mails]
        assert cda_of(sample(ORU, "A1")) in [content for _, content in in_dmp(there).values()]
        assert {z.event for z in there.dpi.received} == {"Z01", "Z02"}


@pytest.mark.parametrize("name", [INIT, RPLC, ORU])
async def test_production_judges_them_at_full_severity(tmp_path: Path, name: str) -> None:
    async with world(tmp_path, "production") as (gateway, there):
        await gateway.start()
        ack = await gateway.send(sample(name, "A1"))
        assert ack.code == "AE"
        assert len(ack.errors) >= 3
        assert all(e.diagnostic and e.location and e.text for e in ack.errors)
        assert not there.mss.mails and not there.dmp.events
