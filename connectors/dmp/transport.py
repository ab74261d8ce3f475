"""HTTPS to the DMP: mutual TLS, a small pool of kept connections, one timeout per phase.

Purpose: send one request, return the reply, and say for each failure whether the request may have been
received.
Guarantee: nothing is retried here. What failed before the request left is `TRANSIENT` or `CONFIGURATION`;
what failed once the request may have left is `UNCERTAIN`. A call ends within `timeouts.total` and no more than
the given number of bytes of a reply is read, whatever the other side does.
Fails: `TransportFailure`, whose words carry no data of the request.
Source: spec/dmp.md §1.5, §4.4.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx

from connectors.dmp.settings import DmpSettings
from connectors.port import OutcomeClass
from gateway.errors import EnvironmentFault


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back."""

    status: int
    content_type: str
    body: bytes
    date: str = ""
    """The header Date, as sent."""


class TransportFailure(EnvironmentFault):
    """No reply. `outcome` says what may have happened; `code` and `label` are ours."""

    def __init__(self, outcome: OutcomeClass, code: str, label: str) -> None:
        super().__init__(f"{code}: {label}")
        self.outcome = outcome
        self.code = code
        self.label = label


TLS_ALERT = "TLS_ALERT"
"""Our certificate refused after the handshake (a renegotiation): a person must act, once nothing is in doubt."""
SLICE = 262_144
"""Bytes given to TLS at a time."""


class DmpTransport:
    """One pool of connections to one DMP."""

    def __init__(self, settings: DmpSettings, context: ssl.SSLContext) -> None:
        limits = settings.timeouts
        self._total = limits.total
        self._calls = 0
        self._retired = False
        self._client = httpx.AsyncClient(
            verify=context,
            timeout=httpx.Timeout(
                connect=limits.connect, read=limits.read, write=limits.write, pool=limits.pool
            ),
            limits=httpx.Limits(
                max_connections=settings.max_connections,
                max_keepalive_connections=settings.max_connections,
                keepalive_expiry=settings.keepalive,
            ),
            # environment proxies and netrc must not divert medical documents
            trust_env=False,
            follow_redirects=False,
            # a compressed reply could be of any size once opened
            headers={"Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close every connection, calls under way included."""
        await self._client.aclose()

    async def retire(self) -> None:
        """Take no new call's place any more: close once the calls under way have ended."""
        self._retired = True
        if not self._calls:
            await self.close()

    async def post(
        self, url: str, content_type: str, chunks: Sequence[bytes], length: int, limit: int
    ) -> HttpReply:
        """POST the chunks one after the other; read at most `limit` bytes. Raises `TransportFailure`."""
        self._calls += 1
        try:
            async with asyncio.timeout(self._total):
                return await self._post(url, content_type, chunks, length, limit)
        except (httpx.ConnectError, httpx.ConnectTimeout) as e:
            raise _not_connected(e) from e
        except httpx.PoolTimeout as e:
            raise TransportFailure(
                OutcomeClass.TRANSIENT, "POOL", "Aucune connexion libre vers le DMP."
            ) from e
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as e:
            raise TransportFailure(
                OutcomeClass.CONFIGURATION, "URL", "L'adresse du DMP n'est pas utilisable."
            ) from e
        except (httpx.TimeoutException, TimeoutError) as e:
            raise TransportFailure(
                OutcomeClass.UNCERTAIN, "TIMEOUT", "Le DMP n'a pas répondu à temps."
            ) from e
        except (httpx.HTTPError, OSError) as e:
            # what TLS says after the handshake comes as it is (`ssl.SSLError`): an alert, or bytes that are no TLS
            if isinstance(e, ssl.SSLError) and _about_certificate(e):
                raise TransportFailure(
                    OutcomeClass.UNCERTAIN,
                    TLS_ALERT,
                    "Le DMP refuse notre certificat d'authentification (TLS).",
                ) from e
            raise TransportFailure(
                OutcomeClass.UNCERTAIN, "CUT", "La connexion au DMP a été coupée avant la réponse."
            ) from e
        finally:
            self._calls -= 1
            if self._retired and not self._calls:
                await self.close()

    async def _post(
        self, url: str, content_type: str, chunks: Sequence[bytes], length: int, limit: int
    ) -> HttpReply:
        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                # in slices: TLS over a whole document would hold the event loop
                view = memoryview(chunk)
                for start in range(0, len(view), SLICE):
                    yield bytes(view[start : start + SLICE])

        sent = {"Content-Type": content_type, "Content-Length": str(length)}
        async with self._client.stream("POST", url, content=body(), headers=sent) as reply:
            kept = bytearray()
            async for part in reply.aiter_bytes():
                kept += part
                if len(kept) > limit:
                    raise TransportFailure(
                        OutcomeClass.UNCERTAIN, "TOO_LARGE", "La réponse du DMP est trop longue."
                    )
            headers = reply.headers
            return HttpReply(
                reply.status_code, headers.get("content-type", ""), bytes(kept), headers.get("date", "")
            )


def _not_connected(error: httpx.TransportError) -> TransportFailure:
    """The request did not leave. A TLS refusal about a certificate needs a person; the rest may pass."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TransportFailure(
                OutcomeClass.CONFIGURATION, "TLS", "Le certificat du serveur DMP n'est pas accepté."
            )
        if isinstance(cause, ssl.SSLError) and _about_certificate(cause):
            return TransportFailure(
                OutcomeClass.CONFIGURATION, "TLS", "Le DMP refuse notre certificat d'authentification (TLS)."
            )
        cause = cause.__cause__ or cause.__context__
    return TransportFailure(OutcomeClass.TRANSIENT, "CONNECT", "Connexion au DMP impossible.")


def _about_certificate(error: ssl.SSLError) -> bool:
    """True for a TLS alert that speaks of a certificate (alerts 41 to 49 and 116) or refuses the
    handshake.
    """
    reason = (error.reason or "").upper()
    return "ALERT" in reason and any(
        word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")
    )
