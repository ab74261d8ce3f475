"""Logs on standard error: JSON lines or plain text, never any patient data.

Guarantee: of an exception that is not ours only its type and its frames are written, never its text (it may
quote what was being read). Levels of chatty libraries are kept at WARNING: they may print what they carry.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

from gateway.errors import GatewayError
from gateway.settings import LogSettings

QUIET = (
    "httpx",
    "httpcore",
    "aiosmtplib",
    "mail.log",
    "uvicorn",
    "uvicorn.access",
    "sqlalchemy",
    "signxml",
    "asyncio",
)


def safe_exception(error: BaseException) -> str:
    """Frames and type names of an exception and its causes; texts only of our own exceptions."""
    parts = []
    seen: BaseException | None = error
    while seen is not None:
        where = "".join(
            f"\n  {f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}"
            for f in traceback.extract_tb(seen.__traceback__)
        )
        said = f": {seen}" if isinstance(seen, GatewayError) else ""
        parts.append(f"{type(seen).__name__}{said}{where}")
        seen = seen.__cause__ or seen.__context__
    return "\ncaused by ".join(parts)


class SafeFormatter(logging.Formatter):
    """Text lines; exceptions through `safe_exception`."""

    def formatException(self, ei: object) -> str:
        """Never the standard rendering: it prints the exception's text."""
        error = ei[1] if isinstance(ei, tuple) else None
        return safe_exception(error) if isinstance(error, BaseException) else ""


class JsonFormatter(SafeFormatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """time (UTC, ISO 8601), level, logger, message, exception."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(settings: LogSettings) -> None:
    """Install the handler on the root logger."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
