"""The simulated API: a real HTTP server on loopback.

Guarantee: strict where the API is documented: the key is asked for, an unknown resource type is 404, an unknown search
parameter 400. No address and no identifier stands in the history.
Fails: `OSError` at the start when the port is taken.
Source: spec/mssante.md §4; Annuaire Santé API v2 (search parameters of each resource, `_include`, `_revinclude`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from connectors.mss.directory.simulator.people import Resource, everybody

API_KEY = "cle-de-test-de-l-annuaire"
"""Public: it opens nothing."""
_OWN = frozenset({"_count", "_offset"})
_KINDS: dict[str, frozenset[str]] = {
    "Practitioner": frozenset({"_id", "active", "identifier", "mailbox-mss", "_revinclude"}),
    "PractitionerRole": frozenset(
        {"_id", "active", "practitioner", "organization", "mailbox-mss", "_include"}
    ),
    "Organization": frozenset({"_id", "active", "identifier", "mailbox-mss", "_revinclude"}),
}
_INCLUDES = {"PractitionerRole:practitioner": "practitioner", "PractitionerRole:organization": "organization"}


@dataclass
class Fault:
    """What goes wrong, for the next `times` requests (None: all)."""

    seconds: float = 0.0
    """Before the answer."""
    status: int = 200
    retry_after: str = ""
    broken: bool = False
    """Half of the JSON."""
    times: int | None = None
    body: bytes | None = None
    """Instead of the answer's."""


class _Refused(Exception):
    """400."""


class _Server(uvicorn.Server):
    """A server that leaves signals to its host."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class DirectorySimulator:
    """The API on `host`:`port` (0: any free one). `resources`: what it knows; `next_base`: a base URL to put in the
    links to next pages instead of its own. `certificate` and `key` make it HTTPS."""

    name = "mss.directory"

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        resources: Sequence[Resource] | None = None,
        api_key: str = API_KEY,
        page_size: int = 20,
        next_base: str = "",
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.resources = list(everybody() if resources is None else resources)
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        """Path and query of each request, decoded, for tests."""
        self._api_key = api_key
        self._page_size = page_size
        self._next_base = next_base
        self._tls = (certificate, key)
        self._history: list[str] = []
        self._running: tuple[_Server, asyncio.Task[None]] | None = None
        self._stopping = asyncio.Event()
        self._key_file = directory.resolve() / "api-key"
        self._key_file.write_text(api_key + "\n", encoding="ascii")
        self._key_file.chmod(0o600)

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen."""
        self._stopping.clear()
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, self.port))
        except OSError as e:
            listening.close()
            raise OSError(e.errno, f"port {self.port}: {e.strerror}") from e
        listening.listen()
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._application(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=self._tls[0],
            ssl_keyfile=self._tls[1],
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]), name="directory-simulator")
        self._running = server, task

    async def stop(self) -> None:
        """Close the socket; answers under way are dropped."""
        running, self._running = self._running, None
        self._stopping.set()
        if running is not None:
            running[0].should_exit = running[0].force_exit = True
            await running[1]

    def address(self) -> str:
        """The base URL."""
        scheme = "https" if self._tls[0] else "http"
        return f"{scheme}://{self.host}:{self.port}/fhir/v2"

    def connector_settings(self) -> dict[str, Any]:
        """A `[connectors.mss.directory]` table."""
        return {
            "backend": "annuaire-sante",
            "base_url": self.address(),
            "api_key_file": str(self._key_file),
        }

    def history(self) -> list[str]:
        """One line per request: what was asked, without its values."""
        return list(self._history)

    # --- answers -----------------------------------------------------------------------------------------------------

    def _application(self) -> FastAPI:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

        @app.get("/fhir/v2/{kind}")
        async def search(kind: str, request: Request) -> Response:
            pairs = request.query_params.multi_items()
            self.asked.append(f"{kind}?{'&'.join(f'{k}={v}' for k, v in pairs)}")
            answer = await self._answered(kind, pairs, request.headers.get("ESANTE-API-KEY", ""))
            names = ",".join(sorted({k for k, _ in pairs} - _OWN))
            self._history.append(f"{kind} par {names} : {answer.status_code}")
            return answer

        return app

    async def _answered(self, kind: str, pairs: list[tuple[str, str]], key: str) -> Response:
        fault = self._fault()
        if fault.seconds:
            # a stop ends the wait
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), fault.seconds)
        if fault.status != 200:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
            return _outcome(fault.status, "fault on order", headers)
        if key != self._api_key:
            return _outcome(401, "ESANTE-API-KEY is missing or wrong")
        if kind not in _KINDS:
            return _outcome(404, "no such resource")
        try:
            answer = JSONResponse(self._bundle(kind, pairs), media_type="application/fhir+json")
        except _Refused as e:
            return _outcome(400, str(e))
        if fault.body is not None or fault.broken:
            body = bytes(answer.body)
            return Response(
                body[: len(body) // 2] if fault.body is None else fault.body,
                media_type="application/fhir+json",
            )
        return answer

    def _fault(self) -> Fault:
        for fault in self.faults:
            if fault.times is None:
                return fault
            if fault.times > 0:
                fault.times -= 1
                return fault
        return Fault()

    def _bundle(self, kind: str, pairs: list[tuple[str, str]]) -> Resource:
        names = {name.partition(":")[0] for name, _ in pairs}
        if unknown := names - _KINDS[kind] - _OWN:
            raise _Refused(f"unknown parameter: {', '.join(sorted(unknown))}")
        counts = dict(pairs)
        try:
            size = min(int(counts.get("_count", self._page_size)), self._page_size)
            offset = int(counts.get("_offset", 0))
        except ValueError:
            raise _Refused("_count") from None
        matching = [
            r
            for r in self.resources
            if r["resourceType"] == kind and all(_matches(r, n, v) for n, v in pairs if n not in _OWN)
        ]
        page = matching[offset : offset + size]
        included = self._included(page, [v for n, v in pairs if n in ("_include", "_revinclude")])
        links = [{"relation": "self", "url": f"{self.address()}/{kind}"}]
        if offset + size < len(matching):
            query = urlencode(
                [(n, v) for n, v in pairs if n != "_offset"] + [("_offset", str(offset + size))]
            )
            links.append({"relation": "next", "url": f"{self._next_base or self.address()}/{kind}?{query}"})
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(matching),
            "link": links,
            "entry": [
                *({"resource": r, "search": {"mode": "match"}} for r in page),
                *({"resource": r, "search": {"mode": "include"}} for r in included),
            ],
        }

    def _included(self, page: Sequence[Resource], asked: Sequence[str]) -> list[Resource]:
        """The resources that those of the page refer to (`_include`), or that refer to them (`_revinclude`)."""
        own = {f"{r['resourceType']}/{r['id']}" for r in page}
        made: dict[str, Resource] = {}
        for include in asked:
            if (element := _INCLUDES.get(include)) is None:
                raise _Refused("unknown include")
            wanted = {_reference(r, element) for r in page}
            for resource in self.resources:
                name = f"{resource['resourceType']}/{resource['id']}"
                if name in wanted or _reference(resource, element) in own:
                    made[name] = resource
        return list(made.values())


def _outcome(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    body = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "processing", "diagnostics": text}],
    }
    return JSONResponse(body, status, headers, "application/fhir+json")


def _reference(resource: Resource, element: str) -> str:
    value = resource.get(element)
    return str(value.get("reference", "")) if isinstance(value, dict) else ""


def _matches(resource: Resource, name: str, value: str) -> bool:
    """One search parameter; a comma that is not escaped is an "or"."""
    wanted = [re.sub(r"\\(.)", r"\1", v) for v in re.split(r"(?<!\\),", value)]
    match name:
        case "_id":
            return resource["id"] in wanted
        case "active":
            return str(resource.get("active", True)).lower() in wanted
        case "identifier":
            found = {
                form
                for i in resource.get("identifier", ())
                for form in (i.get("value"), f"{i.get('system')}|{i.get('value')}")
            }
            return bool(found & set(wanted))
        case "mailbox-mss:exact":
            return bool(set(_mailboxes(resource)) & set(wanted))
        case "mailbox-mss:contains":
            return any(w.lower() in m.lower() for m in _mailboxes(resource) for w in wanted)
        case "mailbox-mss":
            return any(m.lower().startswith(w.lower()) for m in _mailboxes(resource) for w in wanted)
        case "practitioner" | "organization":
            return _reference(resource, name).rpartition("/")[2] in {w.rpartition("/")[2] for w in wanted}
        case "_include" | "_revinclude":
            return True
        case _:
            raise _Refused(f"modifier of {name.partition(':')[0]}")


def _mailboxes(resource: Resource) -> list[str]:
    """The MSSanté addresses: a contact's e-mail has no extension."""
    return [
        t["value"] for t in resource.get("telecom", ()) if t.get("system") == "email" and t.get("extension")
    ]
