"""What is counted and measured. Labels are codes, rule ids and destinations: never patient data.

The registry is per process object (not the library's global one) so that several gateways can live in one
test.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.errors import Finding
from gateway.hl7.adt_event import EVENTS

ACK_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0)
ATTEMPT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 120.0)
MAX_SENDERS = 500
OTHER_SENDERS = "*"
"""Label of the senders beyond `MAX_SENDERS`."""
KNOWN_EVENTS = frozenset({("MDM", "T02"), ("MDM", "T10"), ("MDM", "T04"), ("ORU", "R01")}) | {
    ("ADT", event) for event in EVENTS
}


class Telemetry:
    """All metrics of one gateway, and the tolerances used by each sender."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.messages = Counter(
            "segur_messages_total", "Messages answered, by type and ACK code", ["type", "code"], registry=r
        )
        self.ack_seconds = Histogram(
            "segur_ack_seconds",
            "From the last byte of a message to its ACK",
            ["code"],
            buckets=ACK_BUCKETS,
            registry=r,
        )
        self.replayed = Counter("segur_acks_replayed_total", "Stored ACK sent again", registry=r)
        self.unreadable = Counter(
            "segur_frames_unreadable_total", "Frames without a readable MSH", registry=r
        )
        self.overloads = Counter(
            "segur_overloads_total",
            "Messages answered AR because of an overload, by rule",
            ["rule"],
            registry=r,
        )
        self.memory = Gauge(
            "segur_memory_reserved_bytes", "Memory budget taken, by share", ["share"], registry=r
        )
        self.findings = Counter(
            "segur_findings_total", "Findings by rule and severity", ["rule", "severity"], registry=r
        )
        self.deliveries = Counter(
            "segur_deliveries_total",
            "Deliveries ended, by destination and state",
            ["destination", "state"],
            registry=r,
        )
        self.attempts = Counter(
            "segur_delivery_attempts_total",
            "Attempts by destination and outcome",
            ["destination", "outcome"],
            registry=r,
        )
        self.attempt_seconds = Histogram(
            "segur_delivery_attempt_seconds",
            "Duration of attempts",
            ["destination"],
            buckets=ATTEMPT_BUCKETS,
            registry=r,
        )
        self.queue_depth = Gauge(
            "segur_queue_depth",
            "Open deliveries by destination and state",
            ["destination", "state"],
            registry=r,
        )
        self.queue_oldest = Gauge(
            "segur_queue_oldest_seconds", "Age of the oldest open delivery", ["destination"], registry=r
        )
        self.circuit_open = Gauge(
            "segur_circuit_open",
            "1 while a destination is stopped by a configuration fault",
            ["destination"],
            registry=r,
        )
        self.certificate_end = Gauge(
            "segur_certificate_not_after_seconds",
            "End of validity of a connector's certificate, in seconds since 1970",
            ["destination", "certificate"],
            registry=r,
        )
        self.data_age = Gauge(
            "segur_data_age_seconds",
            "Seconds since a list of others that a connector uses was last known to be up to date",
            ["destination", "data"],
            registry=r,
        )
        self.mailbox_connected = Gauge(
            "segur_mailbox_connected", "1 while an applicative mailbox is read", ["mailbox"], registry=r
        )
        self.mails_kept = Counter("segur_mails_received_total", "Mails kept", ["mailbox"], registry=r)
        self.mails_treated = Counter(
            "segur_mails_treated_total", "Mails treated, by kind and reason", ["kind", "reason"], registry=r
        )
        self.receipts = Counter(
            "segur_receipts_total",
            "Receipts about our mails, by event and fact",
            ["event", "fact"],
            registry=r,
        )
        self.incidents = Counter(
            "segur_incidents_total", "Errors that a person must hear of, by flow", ["flow"], registry=r
        )
        self.error_mailbox = Gauge(
            "segur_error_mailbox_unreachable", "1 while error mails do not get through", registry=r
        )
        self.retention = Counter(
            "segur_retention_total",
            "Contents emptied, deliveries whose details went, rows of ADT and of the audit trail that went, by kind",
            ["kind"],
            registry=r,
        )
        self.indicator_facts = Counter(
            "segur_indicator_facts_total",
            "Facts of the indicators that exchanges made, by source and what became of them",
            ["source", "result"],
            registry=r,
        )
        self.alarm = Gauge("segur_alarm", "1 while an alarm holds, by name", ["name"], registry=r)
        self.connections = Gauge("segur_mllp_connections", "MLLP connections open", registry=r)
        self.connections_closed = Counter(
            "segur_mllp_connections_closed_total",
            "MLLP connections closed, by reason",
            ["reason"],
            registry=r,
        )
        self.dropped_bytes = Counter(
            "segur_mllp_dropped_bytes_total", "Bytes outside any frame, dropped", registry=r
        )
        self.tolerances = Counter(
            "segur_tolerances_total",
            "Warnings of accepted messages, by sender (MSH-3|MSH-4) and rule",
            ["sender", "rule"],
            registry=r,
        )
        self._senders: set[str] = set()

    def acknowledged(self, message_type: str, event: str, code: str, seconds: float) -> None:
        """One answer was made. Unknown types share one label, so that a sender cannot make labels grow."""
        known = (message_type, event) in KNOWN_EVENTS
        self.messages.labels(f"{message_type}^{event}" if known else "other", code).inc()
        self.ack_seconds.labels(code).observe(seconds)

    def tolerated(self, sender: str, findings: Iterable[Finding]) -> None:
        """Findings of an accepted message: all warnings. `sender`: `application|facility`."""
        if sender not in self._senders:
            if len(self._senders) >= MAX_SENDERS:
                sender = OTHER_SENDERS  # names that a sender chooses must not fill the memory
            else:
                self._senders.add(sender)
        for finding in findings:
            self.findings.labels(finding.rule, finding.severity.value).inc()
            self.tolerances.labels(sender, finding.rule).inc()

    def refused(self, findings: Iterable[Finding]) -> None:
        """Findings of a message that was not accepted."""
        for finding in findings:
            self.findings.labels(finding.rule, finding.severity.value).inc()
