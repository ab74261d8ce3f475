"""Did the promise hold? Pure: a plan and a history in, every broken promise out.

Trusts what was seen from outside. The journal's own words serve for four things only: a delivery that has not ended
is stuck, a refusal of which no ZAM was wanted stands there, what was in hand when the gateway was stopped (or was taken
from the hands of one of several nodes) tells whether a second mail is the one that docs/architecture.md allows, and a
node that others took for dead must have been.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.history import (
    SERVER,
    Answered,
    Final,
    History,
    Hung,
    Left,
    Mailed,
    Noted,
    Sent,
    Stopped,
    Stored,
    Submitted,
    TakenOver,
    Told,
    WireCut,
)
from chaos.messages import document
from chaos.scenario import HEARTBEAT, NODE_TIMEOUT, STARVED, Plan, Planned
from gateway.exchange.delivery import FINAL

SENDS = 3
"""Copies of one mail at most (`connectors.mss.connector.BLIND_SENDS`)."""
CLOCK = 0.01
"""Seconds: the counterparts write their times in milliseconds."""
LATE = 2.0
"""Seconds that the operator may take over bytes which a node sent before it cut the connection (a slow one: 1.5)."""
LEAVING = 30.0
"""Seconds between an orderly leave of the journal and the end of the process, at most."""
NO_STOPS = ("end", "start")
"""The orderly stop that ends a seed, starts that failed."""
LOST_ANSWERS = ("drop", "commit_then_drop", "silent")
"""Faults of the operator after which nobody knows whether it took the mail."""
_REFUSED = ("refused", "expired", "cancelled")
_ENDED = frozenset(s.value for s in FINAL)
_DUPLICATE = ("XDSDuplicateUniqueIdInRegistry", "XDSNonIdenticalHash")

COUNTED = ("lost", "published_twice", "duplicate_mails", "stuck", "order_broken")
"""Kinds of the last line of a run; the others stand on the line before."""
OTHERS = ("acks", "zam", "unasked", "misdirected", "unexplained", "buried", "crash", "harness")


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken promise. `kind`: of `COUNTED` or `OTHERS`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a seed."""

    acknowledged: int
    """Messages that the DPI was told AA for."""
    refused: int
    """Final transactions that ended with a refusal."""
    given_up: int
    """Of these, mails that were given up after three sends of unknown outcome."""
    duplicates_in_window: int
    """Second mails that docs/architecture.md allows."""
    stops: int
    taken_over: tuple[float, ...] = ()
    """For each delivery that a node had in hand when it was killed, another one being at work: seconds until it was in
    hand again."""
    problems: tuple[Problem, ...] = field(default=())

    def count(self, kind: str) -> int:
        """Problems of a kind."""
        return sum(1 for p in self.problems if p.kind == kind)


def check(plan: Plan, history: History) -> Report:
    """Every promise, for every message of the plan."""
    return _Checker(plan, history).report()


class _Checker:
    def __init__(self, plan: Plan, history: History) -> None:
        self.plan, self.history = plan, history
        self.problems: list[Problem] = []
        self.duplicates = 0
        self.refused = 0
        self.given_up = 0
        self.answers: dict[str, list[Answered]] = defaultdict(list)
        for answer in history.of(Answered):
            self.answers[answer.key].append(answer)
        self.finals: dict[str, list[Final]] = defaultdict(list)
        for final in history.of(Final):
            self.finals[final.control_id].append(final)
        self.told: dict[tuple[str, str, str], dict[str, Told]] = defaultdict(dict)
        self.stored = {s.uid: s for s in history.of(Stored)}
        self.kept: dict[tuple[str, str], list[Submitted]] = defaultdict(list)
        for call in history.of(Submitted):
            if call.kept:
                self.kept[call.action, call.uid].append(call)
        self.taken_over = list(history.of(TakenOver))
        self.excuses = list(self.taken_over)
        """Each excuses one copy of its mail."""
        self.second_hand: set[Mailed] = set()
        """Copies that came after a node had hung with their mail in hand: when it woke, the set may have gone on."""
        self.mails: dict[tuple[str, str], list[Mailed]] = defaultdict(list)
        for mail in sorted(history.of(Mailed), key=lambda m: m.at):
            self.mails[mail.key, mail.recipient].append(mail)

    def report(self) -> Report:
        """Run all checks."""
        self._zam_repeats()
        for message in self.plan.messages:
            self._acks(message)
            if self._accepted(message):
                self._told_ar(message)
                self._accepted_message(message)
            else:
                self._nothing_happened(message)
        self._durable()
        self._published_once()
        self._mails_once()
        self._order()
        self._addressed()
        self._refusals_explained()
        self._buried()
        self._ended()
        acknowledged = sum(any(a.code == "AA" for a in self.answers[m.key]) for m in self.plan.messages)
        stops = sum(s.how not in NO_STOPS for s in self.history.of(Stopped))
        return Report(
            acknowledged,
            self.refused,
            self.given_up,
            self.duplicates,
            stops,
            tuple(self._seconds_to_take_over()),
            tuple(self.problems),
        )

    def _bad(self, kind: str, text: str) -> None:
        self.problems.append(Problem(kind, text))

    def _accepted(self, message: Planned) -> bool:
        """The DPI was told AA, or the journal says so (the DPI may have given up before)."""
        if message.wrong:
            return False
        return any(a.code == "AA" for a in self.answers[message.key]) or bool(self.finals[message.control_id])

    # --- the ACK ----------------------------------------------------------------------------------------------

    def _acks(self, message: Planned) -> None:
        """Exactly one final ACK for the same bytes, addressed to them, with the verdict that they deserve."""
        answers = self.answers[message.key]
        for answer in answers:
            if answer.code not in ("AA", "AE", "AR") or answer.acknowledged != message.control_id:
                self._bad("acks", f"{message.key}: an answer {answer.code} to {answer.acknowledged}")
        final = [a for a in answers if a.code in ("AA", "AE")]
        if not final and not message.gives_up:
            self._bad("stuck", f"{message.key}: never answered AA nor AE")
        for code in {a.code for a in final} - {message.expected}:
            self._bad("acks", f"{message.key}: {code} instead of {message.expected}")
        # a message that bears another's MSH-10 has no place of its own in the journal: refused anew each time
        if message.wrong != "same_control_id" and len({a.ack for a in final}) > 1:
            self._bad("acks", f"{message.key}: {len({a.ack for a in final})} different final ACKs")

    def _durable(self) -> None:
        """What was answered AA before a stop is in the journal that the stop left."""
        names = {m.key: m.control_id for m in self.plan.messages}
        for stop in self.history.of(Stopped):
            if stop.acknowledged is None:
                continue  # the database was down: its own stop is judged
            for key, answers in self.answers.items():
                known = names[key] in stop.acknowledged
                if not known and any(a.code == "AA" and a.at < stop.at - CLOCK for a in answers):
                    self._bad("lost", f"{key}: AA was given, and {stop.how} left no trace of it")

    # --- what follows from AA -----------------------------------------------------------------------------------

    def _accepted_message(self, message: Planned) -> None:
        made: list[bool] = []
        if message.dmp:
            for uid in message.uids:
                made.append(self._at_dmp(message, uid))
            self._zam(message, "Z01", "", made, excused=False)
        for recipient in message.recipients:
            there = self._at_mss(message, recipient)
            given_up = self._given_up(message.control_id, recipient)
            self._zam(message, "Z02", recipient, [there], excused=given_up)

    def _at_dmp(self, message: Planned, uid: str) -> bool:
        """Published (or deleted)? If not, it must have been refused."""
        if message.action == "delete":
            stored = self.stored.get(uid)
            done = stored is None or stored.status == "Deleted"
        else:
            done = bool(self.kept["submit", uid])
        self._delivery(message, "dmp", "", uid, done)
        return done

    def _at_mss(self, message: Planned, recipient: str) -> bool:
        """Mailed? If not, it must have been refused. A deletion concerns those who have the document."""
        done = bool(self.mails[message.key, recipient])
        if message.action == "delete" and not done:
            done = not any(
                self.mails[m.key, recipient]
                for m in self.plan.messages
                if m.sets == message.sets and m.action != "delete"
            )
        self._delivery(message, "mss", recipient, message.uids[0], done)
        return done

    def _delivery(self, message: Planned, destination: str, recipient: str, uid: str, done: bool) -> None:
        rows = [
            f
            for f in self.finals[message.control_id]
            if f.destination == destination and f.recipient == recipient and uid in f.uids
        ]
        where = f"{message.key}: {destination} {recipient or uid}"
        if len(rows) != 1:
            self._bad("lost", f"{where}: {len(rows)} deliveries in the journal instead of one")
        refused = any(r.state in _REFUSED for r in rows)
        self.refused += refused
        if not done and not refused:
            self._bad("lost", f"{where}: neither there nor refused ({', '.join(r.state for r in rows)})")

    def _zam(
        self, message: Planned, event: str, address: str, made: Sequence[bool], *, excused: bool
    ) -> None:
        """One ZAM for each destination asked for (one for each document at the DMP), which tells the truth.

        `excused`: after three sends of unknown outcome the DPI is told N although the mail may be there.
        """
        told = self.told[message.control_id, event, address]
        where = f"{message.key}: {event} {address}".strip()
        if not message.tell:
            if told:
                self._bad("zam", f"{where}: not asked for")
            return
        if len(told) != len(made):
            self._bad("zam", f"{where}: {len(told)} instead of {len(made)}")
        elif Counter(t.accepted for t in told.values()) != Counter(made) and not excused:
            self._bad("zam", f"{where}: told {[t.accepted for t in told.values()]}, true {list(made)}")

    def _zam_repeats(self) -> None:
        """A ZAM that comes again is the same bytes under the same MSH-10, and counts once."""
        bytes_of: dict[str, str] = {}
        for zam in self.history.of(Told):
            if bytes_of.setdefault(zam.control_id, zam.sha256) != zam.sha256:
                self._bad("zam", f"{zam.control_id}: repeated with other bytes")
            self.told[zam.answered, zam.event, zam.address][zam.control_id] = zam

    def _told_ar(self, message: Planned) -> None:
        """AR says that nothing was accepted: a DPI that heard nothing else and gave up is right to believe it."""
        whole = {s.attempt for s in self.history.of(Sent) if s.key == message.key and s.whole}
        answered = {a.attempt for a in self.answers[message.key]}
        if whole and whole <= answered and {a.code for a in self.answers[message.key]} == {"AR"}:
            self._bad("unasked", f"{message.key}: accepted, and all that the DPI was told is AR")

    # --- what must not be ---------------------------------------------------------------------------------------

    def _nothing_happened(self, message: Planned) -> None:
        """Refused, or never answered and unknown to the journal: no destination knows it."""
        mailed = [m for (key, _to), mails in self.mails.items() if key == message.key for m in mails]
        own = message.wrong != "other_bytes"
        published = [u for u in message.uids if own and self.kept["submit", u] and message.action != "delete"]
        if mailed or published:
            self._bad("unasked", f"{message.key}: not accepted, yet sent ({len(mailed)} mails, {published})")
        if message.wrong != "same_control_id" and any(
            key[0] == message.control_id and zams for key, zams in self.told.items()
        ):
            self._bad("unasked", f"{message.key}: not accepted, yet told of")

    def _published_once(self) -> None:
        """At most one publication and one deletion for each uniqueId, and none is sent while it is there."""
        for (action, uid), calls in self.kept.items():
            if len(calls) > 1:
                self._bad("published_twice", f"{uid}: {action} {len(calls)} times")
        for call in self.history.of(Submitted):
            # the DMP's refusal of duplicates must not be what saves us
            if call.result in _DUPLICATE and call.fault == "" and not self._not_knowing(call):
                self._bad("published_twice", f"{call.uid}: sent again while it was there ({call.result})")

    def _not_knowing(self, again: Submitted) -> bool:
        """It was sent by a node that hung with it in hand and woke in the middle, or the look-up came too early."""
        own = {m.control_id for m in self.plan.messages if again.uid in m.uids}
        return self._looked_too_early(again) or any(
            t.destination == "dmp" and t.control_id in own and t.back and t.at <= again.at <= t.back + LATE
            for t in self.taken_over
        )

    def _looked_too_early(self, again: Submitted) -> bool:
        """A DMP that is slow to register: the look-up before this call came before the document was there."""
        kept = [c.at for c in self.kept["submit", again.uid] if c.at <= again.at + CLOCK]
        looks = [
            c.at
            for c in self.history.of(Submitted)
            if (c.action, c.uid) == ("look", again.uid) and c.at <= again.at
        ]
        return bool(kept and looks) and max(looks) <= kept[0] + CLOCK

    def _mails_once(self) -> None:
        for (key, recipient), copies in self.mails.items():
            if len(copies) > SENDS:
                self._bad("duplicate_mails", f"{key} to {recipient}: {len(copies)} copies")
            if len({(c.sha256, c.message_id) for c in copies}) > 1:
                self._bad("duplicate_mails", f"{key} to {recipient}: copies that differ")
            for first, second in pairwise(copies):
                if self._in_window(key, first, second):
                    self.duplicates += 1
                else:
                    self._bad("duplicate_mails", f"{key} to {recipient}: a copy outside the window")

    def _in_window(self, key: str, first: Mailed, second: Mailed) -> bool:
        """The operator's answer to `first` was lost, or the gateway was stopped before it was written down."""
        if first.answer in ("cut", "silent"):
            return True
        between = (first.at - CLOCK, second.at + CLOCK)
        if any(c.link == "mss" and between[0] <= c.at <= between[1] for c in self.history.of(WireCut)):
            return True
        own = {m.control_id for m in self.plan.messages if m.key == key}
        if self._by_two_hands(own, first, second):
            return True
        return any(
            between[0] <= stop.at <= between[1]
            and any(c in own and d == "mss" and r == first.recipient for c, d, r in stop.in_hand)
            for stop in self.history.of(Stopped)
        )

    def _by_two_hands(self, own: set[str], first: Mailed, second: Mailed) -> bool:
        """A node died or hung with this very delivery in hand, and it was taken over: one copy is that node's (it went
        between the claim and the moment at which the node knew), the other one came after the take-over."""
        for taken in self.excuses:
            until = (taken.back or taken.at) + LATE
            if (
                taken.control_id in own
                and (taken.destination, taken.recipient) == ("mss", first.recipient)
                and taken.claimed - CLOCK <= first.at <= until
                and second.at >= taken.at - CLOCK
            ):
                self.excuses.remove(taken)
                if taken.back:
                    self.second_hand.add(second)
                return True
        return False

    def _buried(self) -> None:
        """No node leaves the journal but in order, by its death, or by giving no sign of life for `NODE_TIMEOUT`."""
        for left in self.history.of(Left):
            stops = [s for s in self.history.of(Stopped) if s.node == left.node and s.at >= left.since]
            died = any(s.at <= left.at + CLOCK for s in stops)
            in_order = any(s.how in ("term", "crash", *NO_STOPS) and s.at <= left.at + LEAVING for s in stops)
            hung = any(
                h.node == left.node
                and h.at + (0 if h.why == STARVED else NODE_TIMEOUT - 2 * HEARTBEAT)
                <= left.at
                <= h.over + LATE
                for h in self.history.of(Hung)
            )
            if not (died or in_order or hung):
                self._bad("buried", f"node {left.node} lived, and was taken for dead")

    def _seconds_to_take_over(self) -> Iterator[float]:
        """Of the deaths that another node saw which was at work, undisturbed, from then until it took over."""
        stops = list(self.history.of(Stopped))
        hung = [h for h in self.history.of(Hung) if h.why != STARVED]  # a slow machine is part of the answer
        for taken in self.taken_over:
            death = next(
                (s.at for s in stops if s.node == taken.node and taken.claimed <= s.at <= taken.at), None
            )
            if death is None or taken.again is None:
                continue
            for other in self.history.of(Left):
                if (
                    other.node != taken.node
                    and other.since <= death
                    and taken.at <= other.at
                    and not any(
                        s.node in (other.node, SERVER) and other.since <= s.at <= taken.again for s in stops
                    )
                    and not any(
                        h.node == other.node and h.at <= taken.again and death <= h.over for h in hung
                    )
                ):
                    yield taken.again - death
                    break

    def _order(self) -> None:
        """Versions of a set reach each destination in their order, and replace what is there."""
        of_uid = {
            u: (s, m.version) for m in self._accepted_ones() for s, u in zip(m.sets, m.uids, strict=True)
        }
        last: dict[str, tuple[int, str, bool]] = {}
        for call in sorted((c for c in self.history.of(Submitted) if c.kept), key=lambda c: c.at):
            if call.uid not in of_uid:
                continue
            name, version = of_uid[call.uid]
            before, there, deleted = last.get(name, (0, "", False))
            if call.action == "delete":
                if version != before:
                    self._bad("order_broken", f"dmp {name}: version {version} deleted, {before} is the last")
                last[name] = (before, there, True)
                continue
            if version <= before or deleted:
                self._bad("order_broken", f"dmp {name}: version {version} after {before}")
            stored = self.stored.get(call.uid)
            if stored is not None and stored.replaces != there:
                self._bad(
                    "order_broken", f"dmp {call.uid}: replaces {stored.replaces!r}, {there!r} was there"
                )
            last[name] = (version, call.uid, False)
        for name, sequence in self._mail_sequences():
            if sequence != sorted(sequence):
                self._bad("order_broken", f"mss {name}: {sequence}")

    def _mail_sequences(self) -> Iterator[tuple[str, list[tuple[int, bool]]]]:
        """(version, deletion?) of the mails of each set to each recipient, in the order of their arrival."""
        of_key = {m.key: m for m in self.plan.messages}
        found: dict[str, list[tuple[int, bool]]] = defaultdict(list)
        for mail in sorted(self.history.of(Mailed), key=lambda m: m.at):
            message = of_key.get(mail.key)
            if message is not None and mail not in self.second_hand:
                found[f"{message.sets[0]} {mail.recipient}"].append(
                    (message.version, message.action == "delete")
                )
        return iter(found.items())

    def _addressed(self) -> None:
        """Everything that arrived was meant for that place, with the documents that the DPI sent."""
        of_key = {m.key: m for m in self.plan.messages}
        sha1: dict[str, str] = {}
        for message in self._accepted_ones():
            for n, uid in enumerate(message.uids):
                sha1[uid] = hashlib.sha1(document(message, n)).hexdigest()
        for mail in self.history.of(Mailed):
            planned = of_key.get(mail.key)
            if planned is None or mail.recipient not in planned.recipients:
                self._bad("misdirected", f"a mail {mail.key!r} to {mail.recipient}")
            elif tuple(sha1.get(u) for u in planned.uids) != mail.documents:
                self._bad("misdirected", f"{mail.key} to {mail.recipient}: other documents than were sent")
        published = {u for m in self._accepted_ones() if m.dmp for u in m.uids}
        for stored in self.stored.values():
            if stored.uid not in published or stored.sha1 != sha1.get(stored.uid):
                self._bad("misdirected", f"the DMP has {stored.uid}, unknown or with other bytes")
        known = {m.control_id: m for m in self.plan.messages if not m.wrong}
        for answered, event, address in self.told:
            told_of = known.get(answered)
            wanted = ("", *told_of.recipients) if told_of is not None else ()
            if address not in wanted or (event == "Z01") != (address == ""):
                self._bad("misdirected", f"a ZAM {event} {address} on {answered!r}")

    def _accepted_ones(self) -> Iterable[Planned]:
        return (m for m in self.plan.messages if self._accepted(m))

    def _refusals_explained(self) -> None:
        """A simulator was asked for every refusal; nothing expires within a seed."""
        left = Counter(self.plan.refused)
        for control_id, rows in self.finals.items():
            for row in rows:
                if row.state not in _REFUSED:
                    continue
                names = row.uids if row.destination == "dmp" else (row.recipient,)
                name = next((n for n in names if left[n] > 0), None)
                if name is not None:
                    left[name] -= 1
                elif row.destination == "mss" and self._given_up(control_id, row.recipient):
                    self.given_up += 1
                else:
                    self._bad("unexplained", f"{control_id}: {row.destination} {row.recipient} {row.state}")

    def _given_up(self, control_id: str, recipient: str) -> bool:
        """A mail whose outcome may have stayed unknown `SENDS` times: it is then told N, there or not."""
        return self._unknown(control_id, recipient) >= SENDS

    def _unknown(self, control_id: str, recipient: str) -> int:
        """How many outcomes of a mail may have stayed unknown: stops with it in hand, answers lost on the way."""
        stops = sum((control_id, "mss", recipient) in s.in_hand for s in self.history.of(Stopped))
        stops += sum(
            (t.control_id, t.destination, t.recipient) == (control_id, "mss", recipient)
            for t in self.taken_over
        )
        planned = sum(
            int(f.get("times", 1))
            for f in self.plan.mss
            if f.get("recipient") == recipient and f["kind"] in LOST_ANSWERS
        )
        return stops + planned + sum(c.link == "mss" for c in self.history.of(WireCut))

    def _ended(self) -> None:
        """All deliveries are final, and the gateway never ended by itself."""
        for rows in self.finals.values():
            for row in rows:
                if row.state not in _ENDED:
                    self._bad("stuck", f"{row.control_id}: {row.destination} {row.recipient} {row.state}")
        if any(n.text == "the time of the seed is over" for n in self.history.of(Noted)) and not any(
            p.kind == "stuck" for p in self.problems
        ):
            self._bad("stuck", "something did not end in the time of the seed")
        for stop in self.history.of(Stopped):
            if stop.how == "crash":
                self._bad("crash", f"node {stop.node} ended by itself: {stop.detail}")
