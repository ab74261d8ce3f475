"""SEARCH: which messages of a folder answer a client's criteria. Pure.

Fails: `Syntax` for criteria that cannot be read or are not known. Source: RFC 3501 §6.4.4.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from email import message_from_bytes, policy

from connectors.mss.simulator.imap_syntax import Syntax, is_sequence, sequence
from connectors.mss.simulator.reports import headers_of
from connectors.mss.simulator.store import Message

Test = Callable[[int, Message], bool]
"""Of a sequence number and a message."""

_FLAGS = {
    "SEEN": "\\Seen",
    "DELETED": "\\Deleted",
    "ANSWERED": "\\Answered",
    "FLAGGED": "\\Flagged",
    "DRAFT": "\\Draft",
}
_HEADERS = {"FROM", "TO", "CC", "BCC", "SUBJECT"}


def criteria(tokens: list[object], numbers: list[int], uids: list[int]) -> Test:
    """The test of all `tokens` together. `numbers`, `uids`: what the folder holds, for sequence sets."""
    rest = list(tokens)
    if len(rest) > 1 and str(rest[0]).upper() == "CHARSET":
        if str(rest[1]).upper() not in ("UTF-8", "US-ASCII"):
            raise Syntax("charset")
        del rest[:2]
    if not rest:
        raise Syntax("no criterion")
    tests: list[Test] = []
    while rest:
        tests.append(_one(rest, numbers, uids))
    return lambda n, m: all(test(n, m) for test in tests)


def _one(rest: list[object], numbers: list[int], uids: list[int]) -> Test:
    """The next criterion, taken from `rest`."""
    token = _next(rest)
    if isinstance(token, list):
        return criteria(token, numbers, uids)
    key = str(token).upper()
    if is_sequence(key):
        chosen = set(sequence(key, numbers))
        return lambda n, m: n in chosen
    if key in _FLAGS:
        return lambda n, m: _FLAGS[key] in m.flags
    if key.startswith("UN") and key[2:] in _FLAGS:
        return lambda n, m: _FLAGS[key[2:]] not in m.flags
    if key in _HEADERS or key == "HEADER":
        name = key if key in _HEADERS else str(_next(rest))
        wanted = str(_next(rest)).lower()
        return lambda n, m: _header(m, name, wanted)
    if key in ("LARGER", "SMALLER"):
        size = _number(_next(rest))
        return (lambda n, m: m.size > size) if key == "LARGER" else (lambda n, m: m.size < size)
    if key in ("SINCE", "BEFORE", "ON", "SENTSINCE", "SENTBEFORE", "SENTON"):
        return _day(key.removeprefix("SENT"), _date(_next(rest)))
    if key in ("KEYWORD", "UNKEYWORD"):
        flag = str(_next(rest)).lower()
        return lambda n, m: (flag in {f.lower() for f in m.flags}) is (key == "KEYWORD")
    if key in ("BODY", "TEXT"):
        words = str(_next(rest)).encode("utf-8").lower()
        return lambda n, m: words in m.content.lower()
    match key:
        case "ALL":
            return lambda n, m: True
        case "RECENT":
            return lambda n, m: m.recent
        case "OLD":
            return lambda n, m: not m.recent
        case "NEW":
            return lambda n, m: m.recent and "\\Seen" not in m.flags
        case "UID":
            chosen_uids = set(sequence(str(_next(rest)), uids))
            return lambda n, m: m.uid in chosen_uids
        case "NOT":
            inner = _one(rest, numbers, uids)
            return lambda n, m: not inner(n, m)
        case "OR":
            left, right = _one(rest, numbers, uids), _one(rest, numbers, uids)
            return lambda n, m: left(n, m) or right(n, m)
    raise Syntax("unknown criterion")


def _next(rest: list[object]) -> object:
    if not rest:
        raise Syntax("criterion without its value")
    return rest.pop(0)


def _number(token: object) -> int:
    if not str(token).isdecimal():
        raise Syntax("number")
    return int(str(token))


def _date(token: object) -> date:
    try:
        return datetime.strptime(str(token), "%d-%b-%Y").date()
    except ValueError:
        raise Syntax("date") from None


def _day(key: str, day: date) -> Test:
    match key:
        case "SINCE":
            return lambda n, m: m.date.date() >= day
        case "BEFORE":
            return lambda n, m: m.date.date() < day
    return lambda n, m: m.date.date() == day


def _header(message: Message, name: str, wanted: str) -> bool:
    parsed = message_from_bytes(message.head + headers_of(message.body), policy=policy.SMTP)
    return any(wanted in str(value).lower() for value in parsed.get_all(name, []))
