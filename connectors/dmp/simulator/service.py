"""One SOAP call of the simulated DMP, from the received message to the answer, without any socket.

Purpose: the steps of §8.2 in their order; synchronous, so that the server can run it in a thread.
Guarantee: the first step that is wrong answers, and nothing is kept before all have passed; the answer names the
request's MessageID.
Fails: never raises for what a client sends.
Source: spec/dmp.md §8.2.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from cryptography import x509

from connectors.dmp.simulator import (
    checks,
    existence,
    queries,
    receiving,
    retrieve,
    rights,
    submission,
    updating,
)
from connectors.dmp.simulator.answers import (
    Answer,
    Attachment,
    Error,
    Refusal,
    Result,
    SoapFault,
    answer,
    fault_body,
)
from connectors.dmp.simulator.checks import Caller
from connectors.dmp.simulator.faults import Fault
from connectors.dmp.simulator.patients import Patients
from connectors.dmp.simulator.receiving import Received
from connectors.dmp.simulator.registry import Registry
from connectors.dmp.simulator.rim import REPOSITORY_OID
from connectors.xds import ebrim

_SCHEMAS = {
    "query": ("query.xsd", f"{{{ebrim.QUERY}}}AdhocQueryRequest", "XDSRegistryError"),
    "retrieve": ("IHEXDSB.xsd", f"{{{ebrim.IHE}}}RetrieveDocumentSetRequest", "XDSRepositoryError"),
}
OTHER_MESSAGE = "urn:uuid:00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Identities:
    """Who may speak: the authority's file, the structures of each certificate's OU (None: any), clock tolerance."""

    authority_file: str
    allowed: Mapping[str, frozenset[str]] | None
    skew: timedelta


class Service:
    """The transactions over one registry. Safe to use from several threads."""

    def __init__(
        self, registry: Registry, patients: Patients, rules: submission.Rules, identities: Identities
    ) -> None:
        self._registry = registry
        self._patients = patients
        self._rules = rules
        self._identities = identities
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Forget the MessageIDs."""
        with self._lock:
            self._seen.clear()

    def run(self, call: Received, peer: x509.Certificate, fault: Fault | None) -> tuple[Answer, str]:
        """Answer one call; also the result in a word (`Success`, `PartialSuccess`, or a code) for the event log."""
        try:
            result = self._run(call, peer)
        except SoapFault as e:
            return self.fault(call, e), e.subcode or "Fault"
        except Refusal as e:
            result = Result(call.action, errors=[Error(e.code, e.words)])
        word = (
            result.errors[0].code if result.errors and not result.attachments else result.status or "Success"
        )
        if word == "Success":
            call.mark("")
        relates = call.message_id
        if fault is not None and word == "Success":
            if fault.kind == "wrong_relates_to":
                relates = OTHER_MESSAGE
            elif fault.kind == "warning":
                result.status = "Success"
                result.errors = [Error(code, words, "Warning") for code, words in fault.errors()]
            elif fault.kind == "partial":
                result.status = "PartialSuccess"
                result.errors = [Error(code, words) for code, words in fault.errors()]
        made = self._answer(call, result, relates)
        if fault is not None and fault.kind == "cut_body":
            made = Answer(made.status, made.content_type, made.body[: len(made.body) // 2])
        return made, word

    def fault(self, call: Received, fault: SoapFault) -> Answer:
        """A SOAP fault, HTTP 500."""
        return answer(fault_body(fault), "", call.message_id, multipart=call.multipart, status=500)

    def refuse(self, call: Received, fault: Fault) -> Answer:
        """The planned RegistryErrors."""
        result = Result(call.action, errors=[Error(code, words) for code, words in fault.errors()])
        return self._answer(call, result, call.message_id)

    def _answer(self, call: Received, result: Result, relates: str) -> Answer:
        return answer(
            result.body(), call.soap_action, relates, multipart=call.multipart, parts=result.parts()
        )

    def _run(self, call: Received, peer: x509.Certificate) -> Result:
        if call.problem is not None or call.envelope is None:
            raise call.problem or SoapFault("", "sim: message illisible")
        with self._lock:
            if call.message_id in self._seen:
                raise SoapFault("DuplicateMessage", "sim: MessageID déjà reçu")
            self._seen.add(call.message_id)
        call.mark("vihf")
        caller = checks.vihf(
            call.envelope,
            self._identities.authority_file,
            peer,
            self._identities.allowed,
            datetime.now(UTC),
            self._identities.skew,
            strict=self._rules.strict,
        )
        call.mark("rights")
        rights.check(call.transaction, caller.profile)
        call.mark("patient")
        self._check_patient(call, caller)
        return self._transaction(call, caller)

    def _check_patient(self, call: Received, caller: Caller) -> None:
        """Is there an open DMP, and does the request speak of the patient of the VIHF."""
        if call.action != "exist":
            self._patients.check(caller.patient, strict=self._rules.strict)
        if any(p != caller.patient for p in call.patients):
            words = "sim: VIHF et requête ne désignent pas le même patient"
            if call.action == "exist":
                raise SoapFault("InvalidSecurity", words)
            raise Refusal("XDSPatientIdDoesNotMatch", words)

    def _check_body(self, call: Received) -> None:
        """XSD of a query or a retrieval."""
        schema, tag, code = _SCHEMAS[call.action]
        found = call.envelope.find(f".//{tag}") if call.envelope is not None else None
        if found is None:
            raise Refusal(code, "sim: corps de la requête")
        self._rules.schemas.check(schema, found, code)

    def _transaction(self, call: Received, caller: Caller) -> Result:
        envelope, rules = call.envelope, self._rules
        assert envelope is not None
        if call.refusal is not None:
            call.mark("query" if call.action == "query" else "metadata")
            raise call.refusal
        if call.action == "submit" and call.objects is not None:
            take = partial(receiving.documents, call)
            submission.submit(self._registry, call.objects, take, caller, rules, call.mark)
            return Result("submit")
        if call.action == "update" and call.objects is not None:
            entry = updating.update(self._registry, call.objects, caller, rules, call.mark)
            call.unique_id = entry.unique_id
            return Result("update")
        if call.action == "exist":
            call.mark("query")
            existence.check(envelope)
            state = self._patients.state(caller.patient)
            return Result("exist", text=existence.answer(envelope, state))
        call.mark("query")
        self._check_body(call)
        if call.action == "query" and call.query is not None:
            objects = queries.run(self._registry, call.query, caller, strict=rules.strict)
            return Result("query", objects=objects)
        found = retrieve.run(self._registry, envelope, caller)
        return Result(
            "retrieve",
            attachments=[
                Attachment(REPOSITORY_OID, e.unique_id, e.described.mime_type, e.content)
                for e in found.documents
            ],
            errors=[Error(code, words) for code, words in found.errors],
            status="PartialSuccess" if found.documents and found.errors else "",
        )
