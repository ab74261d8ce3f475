"""ER7 by grammar: good messages made wrong in every way that the syntax allows, and messages of nothing but syntax."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz.support import MESSAGES

Lines = list[bytes]
Knife = Callable[[st.DrawFn, Lines], None]

NAMES = (
    b"MSH",
    b"SFT",
    b"UAC",
    b"EVN",
    b"PID",
    b"PV1",
    b"ORC",
    b"TQ1",
    b"TQ2",
    b"OBR",
    b"NTE",
    b"TXA",
    b"OBX",
    b"PRT",
)
# Every byte that means something to a reader, and few others, so that they meet by chance.
_PIECES = (
    b"|", b"^", b"~", b"\\", b"&", b'""', b" ", b"\0", b"\x0b", b"\x1c", b"\x1c\r", b"\t", b"\x85", b"\xe9",
    b"\xc3\xa9", b"\\H\\",
    b"\xe2\x80\xa8", b"\xff\xfe", b"\xef\xbb\xbf", b"\\F\\", b"\\X0D\\", b"\\XC3\\", b"\\X", b"\\.br\\", b"\\E\\",
    b"A", b"1", b"Y", b"N", b"@", b".", b"=", b"<", b"MSH|^~\\&|", b"1.2.3", b"-1", b"NW", b"ED", b"RCT", b"SB",
)  # fmt: skip
junk = st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join)
values = st.one_of(
    junk,
    st.sampled_from(
        [
            b"",
            b"Y",
            b"N",
            b"NW",
            b"RO",
            b"CA",
            b"F",
            b"C",
            b"D",
            b"ED",
            b"CWE",
            b"CE",
            b"P",
            b"T",
            b"2.5",
            b"2.6",
        ]
    ),
    st.binary(max_size=12),
    st.integers(1, 4000).map(lambda n: b"x" * n),
    st.integers(1, 400).map(lambda n: b"^~&\\"[n % 4 : n % 4 + 1] * n),
)
separators = st.sampled_from(
    [b"|^~\\&", b"|^~\\&#", b"|^~\\", b"|^", b"|\\~^&", b"#^~\\&", b"|@~\\&", b"|^~~&", b"||||", b"A^~\\&"]
)


def _any(draw: st.DrawFn, lines: Lines) -> int:
    return draw(st.integers(0, len(lines) - 1))


def _set_field(draw: st.DrawFn, lines: Lines) -> None:
    i = _any(draw, lines)
    fields = lines[i].split(b"|")
    fields[draw(st.integers(0, len(fields) - 1))] = draw(values)
    lines[i] = b"|".join(fields)


def _set_component(draw: st.DrawFn, lines: Lines) -> None:
    i = _any(draw, lines)
    fields = lines[i].split(b"|")
    f = draw(st.integers(0, len(fields) - 1))
    parts = fields[f].split(b"^")
    parts[draw(st.integers(0, len(parts) - 1))] = draw(values)
    fields[f] = b"^".join(parts)
    lines[i] = b"|".join(fields)


def _repeat_field(draw: st.DrawFn, lines: Lines) -> None:
    i = _any(draw, lines)
    fields = lines[i].split(b"|")
    f = draw(st.integers(0, len(fields) - 1))
    fields[f] = fields[f] + b"~" + draw(st.one_of(st.just(fields[f]), values))
    lines[i] = b"|".join(fields)


def _add_fields(draw: st.DrawFn, lines: Lines) -> None:
    i = _any(draw, lines)
    lines[i] += b"|" + b"|".join(draw(st.lists(values, max_size=4)))


def _cut_line(draw: st.DrawFn, lines: Lines) -> None:
    i = _any(draw, lines)
    lines[i] = lines[i][: draw(st.integers(0, len(lines[i])))]


def _break_line(draw: st.DrawFn, lines: Lines) -> None:
    i = _any(draw, lines)
    at = draw(st.integers(0, len(lines[i])))
    lines[i : i + 1] = [lines[i][:at], lines[i][at:]]


def _drop(draw: st.DrawFn, lines: Lines) -> None:
    if len(lines) > 1:
        del lines[_any(draw, lines)]


def _double(draw: st.DrawFn, lines: Lines) -> None:
    lines.insert(_any(draw, lines), lines[_any(draw, lines)])


def _move(draw: st.DrawFn, lines: Lines) -> None:
    line = lines.pop(_any(draw, lines))
    lines.insert(draw(st.integers(0, len(lines))), line)


def _add_segment(draw: st.DrawFn, lines: Lines) -> None:
    name = draw(st.sampled_from([*NAMES, b"ZZZ", b"ZA1", b"ARV", b"obx", b"OB", b"FHS", b"MSA", b"", b" "]))
    lines.insert(
        draw(st.integers(0, len(lines))), name + draw(st.sampled_from([b"", b"|", b"|1|"])) + draw(values)
    )


def _poison(draw: st.DrawFn, lines: Lines) -> None:
    i = _any(draw, lines)
    at = draw(st.integers(0, len(lines[i])))
    lines[i] = lines[i][:at] + draw(junk) + lines[i][at + draw(st.integers(0, 4)) :]


def _separators(draw: st.DrawFn, lines: Lines) -> None:
    if lines[0].startswith(b"MSH"):
        lines[0] = b"MSH" + draw(separators) + lines[0][8:]


def _charset(draw: st.DrawFn, lines: Lines) -> None:
    fields = lines[0].split(b"|")
    if len(fields) > 17:
        fields[17] = draw(
            st.sampled_from(
                [b"", b"8859/15", b"8859/1", b"ASCII", b"UTF-8", b"BIG-5", b"UNICODE UTF-8~ASCII"]
            )
        )
        lines[0] = b"|".join(fields)


KNIVES: tuple[Knife, ...] = (
    _set_field, _set_component, _set_component, _repeat_field, _repeat_field, _repeat_field, _add_fields, _cut_line,
    _break_line, _drop, _double, _move, _add_segment, _add_segment, _poison, _separators, _charset,
)  # fmt: skip
line_ends = st.sampled_from([b"\r", b"\r", b"\r", b"\n", b"\r\n", b"\r\r", b"\n\r"])


@st.composite
def changed(draw: st.DrawFn, most: int = 4) -> bytes:
    """A good message with up to `most` changes, its line ends, beginning and end included."""
    lines = draw(st.sampled_from(MESSAGES)).removesuffix(b"\r").split(b"\r")
    for _ in range(draw(st.integers(0, most))):
        draw(st.sampled_from(KNIVES))(draw, lines)
        if not lines:
            lines.append(b"")
    end = draw(line_ends)
    raw = draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\r\n", b" ", b"\0"])) + end.join(lines)
    raw += draw(st.sampled_from([end, end, b"", end * 3, b" ", b"\0"]))
    if draw(st.integers(0, 9)) == 0:
        raw = raw[: draw(st.integers(0, len(raw)))]
    return raw


@st.composite
def grammar(draw: st.DrawFn) -> bytes:
    """A readable MSH and segments of nothing but syntax."""
    marks = draw(separators)
    kind = draw(
        st.sampled_from([b"MDM^T02^MDM_T02", b"MDM^T10", b"ORU^R01^ORU_R01", b"ADT^A01", b"", b"MDM^~\\&"])
    )
    head = [b"MSH" + marks, b"A", b"B", b"C", b"D", b"2026", b"", kind, draw(values), b"T", b"2.6"]
    lines = [marks[:1].join(head)]
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=12)):
        lines.append(marks[:1].join([name, *draw(st.lists(values, max_size=14))]))
    return draw(line_ends).join(lines)
