"""What is wrong with versions: the register of what was accepted before (setId, versionNumber, relatedDocument)."""

from __future__ import annotations

import dataclasses

from fixtures import build
from tests.catalogue.entry import Good, bad
from tests.hl7.messages import put

HERE = "OBX^1^5"


def replacement(g: Good, version: int, replaces: int, **kwargs: str) -> bytes:
    return g.send(g.n1(version, replaces, **kwargs), "T10")


def v1(g: Good) -> list[bytes]:
    return g.before(g.mdm)


def v2(g: Good) -> list[bytes]:
    return g.before(g.mdm, replacement(g, 2, 1))


def deleted(g: Good) -> list[bytes]:
    return g.before(g.mdm, g.send(event="T04"))


bad(
    "versions",
    "already-transmitted",
    "Le même document, déjà transmis partout",
    lambda g: g.mdm,
    f"EXC-ALREADY-TRANSMITTED {HERE} 207/906",
    before=v1,
)
bad(
    "versions",
    "same-id-other-bytes",
    "Même id, autre contenu",
    lambda g: g.send(g.n1(title="Autre titre")),
    f"CDA-V-SAME-ID {HERE} 207/906",
    before=v1,
)
bad(
    "versions",
    "same-version-other-id",
    "Même setId et même version, autre id",
    lambda g: g.send(g.n1(uid=f"{g.root}.77")),
    f"CDA-V-SAME-VERSION {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "new-version-as-first",
    "Nouvelle version envoyée en première transmission",
    lambda g: g.send(g.n1(2)),
    f"CDA-V-NOT-A-REPLACEMENT {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "replacement-as-first",
    "Remplacement envoyé en première transmission",
    lambda g: g.send(g.n1(2, 1)),
    f"CDA-V-RPLC-ON-SUBMIT {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "late-version",
    "Version plus ancienne, arrivée tard",
    lambda g: g.mdm,
    f"CDA-V-OBSOLETE {HERE} 207/900",
    before=lambda g: g.before(g.send(g.n1(2))),
)
bad(
    "versions",
    "version-not-greater",
    "Remplacement sans version supérieure",
    lambda g: g.send(g.n1(1, 1, uid=f"{g.root}.8"), "T10"),
    f"CDA-V-SAME-VERSION {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "not-the-latest",
    "Remplacement d'une version déjà remplacée",
    lambda g: replacement(g, 3, 1),
    f"CDA-V-NOT-LATEST {HERE} 207/900",
    before=v2,
)
bad(
    "versions",
    "replaces-itself",
    "Document qui se remplace lui-même",
    lambda g: replacement(g, 2, 2),
    f"CDA-V-SELF {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "other-set",
    "Remplacement d'un document d'un autre setId",
    lambda g: replacement(g, 2, 1, set_id=f"{g.root}.5"),
    f"CDA-V-OTHER-SET {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "other-organisation",
    "Remplacement par une autre structure",
    lambda g: g.send(g.n1(2, 1, finess="1990000028"), "T10", finess="1990000028"),
    f"CDA-V-AUTHOR {HERE} 207/901",
    before=v1,
)
bad(
    "versions",
    "no-related-document",
    "Remplacement sans relatedDocument",
    lambda g: g.send(g.n1(2), "T10", replaced_id=g.uid(1)),
    f"CDA-V03-RPLC {HERE} 207/900",
    before=v1,
)
bad(
    "versions",
    "txa-13-absent",
    "T10 sans TXA-13",
    lambda g: put(replacement(g, 2, 1), "TXA^1^13", ""),
    "TXA-REQUIRED TXA^1^13 101",
    before=v1,
)
bad(
    "versions",
    "txa-13-other",
    "TXA-13 autre que relatedDocument",
    lambda g: put(replacement(g, 2, 1), "TXA^1^13", "1.2.250.1.999.9"),
    "CDA-V03-PARENT TXA^1^13 207/900",
    before=v1,
)
bad(
    "versions",
    "deleted-again",
    "Suppression d'un document déjà supprimé",
    lambda g: g.send(event="T04"),
    f"CDA-V-DELETED {HERE} 207/900",
    before=deleted,
)
bad(
    "versions",
    "sent-after-deletion",
    "Document supprimé, envoyé de nouveau",
    lambda g: g.mdm,
    f"CDA-V-DELETED {HERE} 207/900",
    before=deleted,
)
bad(
    "versions",
    "replaces-a-deleted",
    "Remplacement d'un document supprimé",
    lambda g: replacement(g, 2, 1),
    f"CDA-V-PARENT-DELETED {HERE} 207/900",
    before=deleted,
)
bad(
    "versions",
    "deletes-an-old-version",
    "Suppression d'une version déjà remplacée",
    lambda g: g.send(event="T04"),
    f"CDA-V-NOT-LATEST {HERE} 207/900",
    before=v2,
)
bad(
    "versions",
    "unknown-predecessor",
    "Remplacement d'un document jamais transmis ici",
    lambda g: replacement(g, 2, 1),
    f"CDA-V-UNKNOWN-REFUSED {HERE} 207/900",
    world="unknown-refused",
)
bad(
    "versions",
    "oru-two-documents-one-known",
    "ORU : l'un des deux documents est une version déjà transmise",
    lambda g: g.send_oru(g.n1(uid=f"{g.root}.77"), g.n3()),
    f"CDA-V-SAME-VERSION {HERE} 207/900",
    before=v1,
)


def pair(g: Good) -> list[bytes]:
    return g.before(g.send_oru(g.n1(), g.n3()))


bad(
    "versions",
    "pair-replaced-alone",
    "Niveaux 1 et 3 transmis ensemble, un seul remplacé",
    lambda g: replacement(g, 2, 1),
    f"CDA-V-PAIR {HERE} 207/900",
    before=pair,
)
bad(
    "versions",
    "pair-deleted-alone",
    "Niveaux 1 et 3 transmis ensemble, un seul supprimé",
    lambda g: g.send(g.n3(), "T04"),
    f"CDA-V-PAIR {HERE} 207/900",
    before=pair,
)


def of_another(g: Good) -> bytes:
    """The replacement, its message and its document, of another patient."""
    number = "2900175123456"
    other = dataclasses.replace(build.PATIENT, ins=number + build.ins_key(number))
    return g.send(g.n1(2, 1, patient=other), "T10", patient=other)


bad(
    "versions",
    "other-patient",
    "Remplacement par le document d'un autre patient",
    of_another,
    f"CDA-V-PATIENT {HERE} 207/904",
    before=v1,
)
bad(
    "versions",
    "parent-version-not-lower",
    "Version inférieure à celle que nomme relatedDocument",
    lambda g: g.send(
        g.n1(2, 1).replace(b"</parentDocument>", b'<versionNumber value="5"/></parentDocument>'), "T10"
    ),
    f"CDA-V-NOT-GREATER {HERE} 207/900",
)
