"""What is wrong on the connection: frames cut, doubled, too long, unreadable; MSH-10 used twice; TLS."""

from __future__ import annotations

from gateway.hl7.framing import END, encode
from tests.catalogue.entry import Answer, Good, bad, stream
from tests.catalogue.worlds import SMALL
from tests.hl7.messages import put

START = b"\x0b"
AA = Answer("AA")
TOO_LONG = "EXC-TOO-LONG - 199"


def second(g: Good) -> bytes:
    """Another good message of the entry."""
    return g.send(g.n1(uid=f"{g.root}.9.1", set_id=f"{g.root}.9"), control_id=g.control_id + "B")


def long(g: Good) -> bytes:
    return put(g.mdm, "PV1^1^3", "X" * SMALL)


def b(g: Good) -> str:
    return g.control_id + "B"


stream(
    "garbage-before",
    "Octets parasites avant le bloc MLLP",
    lambda g: b"GET / HTTP/1.1\r\n\r\n\0\0" + encode(g.mdm),
    AA,
)
stream(
    "line-ends-between", "CR LF entre deux blocs", lambda g: encode(g.mdm) + b"\r\n" + encode(g.mdm), AA, AA
)
stream(
    "two-frames-in-one-write",
    "Deux blocs dans un même envoi",
    lambda g: encode(g.mdm) + encode(g.mdm),
    AA,
    AA,
)
stream("doubled-start", "Octet de début doublé", lambda g: START + encode(g.mdm), AA)
stream("doubled-end", "Fin de bloc doublée", lambda g: encode(g.mdm) + END, AA)
stream(
    "given-up-and-sent-again",
    "Bloc interrompu puis recommencé sur la même connexion",
    lambda g: START + g.mdm[:500] + encode(g.mdm),
    AA,
)
stream(
    "no-end-block",
    "Bloc sans fin : la connexion est fermée après le délai",
    lambda g: START + g.mdm,
    world="small",
    closes=True,
)
stream(
    "end-without-cr",
    "Fin de bloc sans CR (0x1C seul)",
    lambda g: START + g.mdm + b"\x1c",
    world="small",
    closes=True,
)
stream("nothing", "Connexion qui n'envoie rien", lambda g: b"", world="small", closes=True)
stream("no-frame", "Message HL7 sans bloc MLLP", lambda g: g.mdm, world="small", closes=True)
stream("no-msh", "Bloc sans MSH", lambda g: encode(b"PID|||1^^^X\r"), closes=True)
stream(
    "batch", "Lot (FHS, BHS) dans un bloc", lambda g: encode(b"FHS|^~\\&\rBHS|^~\\&\r" + g.mdm), closes=True
)
stream("empty-frame", "Bloc vide", lambda g: encode(b""), closes=True)
stream("xml-in-a-frame", "Document XML au lieu d'un message", lambda g: encode(g.n1()), closes=True)
stream("nul-frame", "Bloc d'octets nuls", lambda g: encode(b"\0" * 64), closes=True)
stream(
    "separators-unreadable",
    "Séparateurs de MSH illisibles",
    lambda g: encode(b"MSH|||||" + g.mdm[9:]),
    closes=True,
)
stream(
    "good-then-no-msh",
    "Un bon message, puis un bloc sans MSH",
    lambda g: encode(g.mdm) + encode(b"x"),
    AA,
    closes=True,
)
stream(
    "too-long",
    "Message plus long que la limite",
    lambda g: encode(long(g)),
    Answer("AE", (TOO_LONG,)),
    world="small",
)
stream(
    "too-long-then-good",
    "Message trop long, puis un bon sur la même connexion",
    lambda g: encode(long(g)) + encode(g.mdm),
    Answer("AE", (TOO_LONG,)),
    AA,
    world="small",
)
stream(
    "too-long-without-msh",
    "Bloc trop long sans MSH",
    lambda g: encode(b"x" * 2 * SMALL),
    world="small",
    closes=True,
)
stream(
    "nul-in-a-field",
    "Octet nul dans un champ du message",
    lambda g: encode(put(g.mdm, "MSH^1^5", "PFI\0ESSAI")),
    Answer("AE", ("EXC-UNREADABLE MSH^1 199",)),
)
stream(
    "end-block-in-msh",
    "Fin de bloc (0x1C) au milieu de MSH",
    lambda g: encode(put(g.mdm, "MSH^1^4", "HOPITAL\x1cESSAI")),
    Answer("AE", ("EXC-UNREADABLE MSH^1 199",)),
)
stream(
    "same-again",
    "Le même message deux fois : la même réponse, sans second envoi",
    lambda g: encode(g.mdm) + encode(g.mdm),
    AA,
    AA,
)
stream(
    "wrong-then-good",
    "Un message refusé, puis un bon : chacun sa réponse",
    lambda g: encode(put(g.mdm, "ORC^1^1", "CA")) + encode(second(g)),
    Answer("AE", ("ACTION-DISAGREES ORC^1^1 207/906",)),
    Answer("AA", (), "B"),
)
bad(
    "transport",
    "same-control-id",
    "Même MSH-10, autre contenu",
    lambda g: put(second(g), "MSH^1^10", g.control_id),
    "EXC-SAME-CONTROL-ID MSH^1^10 207/906",
    before=lambda g: [g.mdm],
)
stream(
    "tls-unknown-certificate",
    "Certificat client d'une autre autorité : connexion refusée",
    lambda g: encode(g.mdm),
    world="tls",
    closes=True,
)
stream(
    "tls-no-certificate",
    "Client sans certificat : connexion refusée",
    lambda g: encode(g.mdm),
    world="tls-no-certificate",
    closes=True,
)
stream(
    "tls-plain",
    "Message en clair sur un port TLS",
    lambda g: encode(g.mdm),
    world="tls-plain",
    closes=True,
)
stream(
    "network",
    "Réseau non autorisé : connexion refusée",
    lambda g: encode(g.mdm),
    world="network",
    closes=True,
)
