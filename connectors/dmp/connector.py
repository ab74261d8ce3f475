"""The DMP connector: pre-transaction, TD2.1a, TD2.1b, TD3.3c, and TD3.1b to know what became of an attempt.

Purpose: `connectors.port.Connector` for the DMP, in indirect authentication.
Guarantee: a document is never sent twice blindly: its uniqueId is constant, an attempt without a clear
answer is UNCERTAIN, and `reconcile` asks the registry. The entryUUID of a replaced or deleted version is
looked up just before use (it changes with each update) and never kept.
Fails: returns outcomes; raises `ConfigurationFault` at start, `GatewayBug` for our own mistakes.
Source: spec/dmp.md §3.7, §3.8, §4.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI

from connectors.dmp import existence
from connectors.dmp import preparation as pre
from connectors.dmp.api import create_api
from connectors.dmp.api_calls import Calls
from connectors.dmp.api_tokens import TokenFile
from connectors.dmp.existence import Existence
from connectors.dmp.link import Link
from connectors.dmp.plan import Plan, load
from connectors.dmp.requests import Request
from connectors.dmp.responses import Answer, Failure
from connectors.dmp.roles import Roles, load_roles
from connectors.dmp.settings import DmpSettings, read_settings
from connectors.dmp.sites import OF_STRUCTURE, Sites
from connectors.port import (
    Accepted,
    Audit,
    ConnectorContext,
    DeliveryJob,
    Outcome,
    OutcomeClass,
    PlannedDelivery,
    Predecessor,
    Preparation,
    Refused,
    Report,
    Unavailable,
    Verdict,
)
from connectors.xds.ebrim import APPROVED, ARCHIVED, DELETED
from connectors.xds.tables import Tables, load_tables
from gateway.errors import GatewayBug, Place
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import Findings, RuleBook


def _utc_clock() -> datetime:
    return datetime.now(UTC)


class DmpConnector:
    """One destination: the DMP. See `connectors.port.Connector` for what each method promises."""

    name = "dmp"
    rule_tables: tuple[Path, ...] = (Path(__file__).parent / "rules.toml",)

    def __init__(
        self, settings: DmpSettings, software_version: str, clock: Callable[[], datetime] = _utc_clock
    ) -> None:
        self._settings = settings
        self._tables: Tables = load_tables(settings.tables)
        self._roles: Roles = load_roles(settings.tables, settings.directory)
        self._book: RuleBook | None = None
        self._clock = clock
        self._link = Link(settings, software_version, clock)
        self._sites = Sites(several=any(settings.structures.values()))

    def use(self, book: RuleBook) -> None:
        """Receive the rule book."""
        self._book = book

    def wants(self, transmission: Transmission) -> bool:
        """OBX DESTDMP = Y."""
        return transmission.flags.dest_dmp

    async def start(self) -> None:
        """Check the API's tokens and the certificates, open the pool."""
        if self._settings.api_tokens is not None:
            TokenFile(self._settings.api_tokens).current()
        await self._link.start()

    async def stop(self) -> None:
        """Close the pool."""
        await self._link.stop()

    def certificates(self) -> Mapping[str, datetime]:
        """`connectors.port.WithCertificates`."""
        return self._link.certificates()

    async def prepare(self, preparation: Preparation) -> Verdict:
        """Everything that can be refused without asking the DMP (under 1 ms: no thread is worth it)."""
        if self._book is None:
            raise GatewayBug("the DMP connector has no rule book")
        credentials = self._link.credentials
        if credentials is None or not self._link.started:
            return Unavailable("Le connecteur DMP est arrêté.")
        if not credentials.valid_at(preparation.now):
            return Unavailable("Un certificat du connecteur DMP n'est pas en cours de validité.")
        findings, deliveries = pre.prepare(
            preparation, self._settings, self._tables, self._roles, credentials.signing.structure, self._book
        )
        if self._settings.precheck_existence and deliveries:
            await self._ask_existence(preparation, deliveries[0], findings)
        if findings.rejects:
            return Refused(tuple(findings))
        return Accepted(deliveries, tuple(findings))

    async def deliver(self, job: DeliveryJob) -> Outcome:
        """One attempt of TD2.1a, TD2.1b or TD3.3c."""
        plan = load(job.plan)
        outcome = await self._deliver(job, plan)
        return self._sites.judge(plan.subject.structure, outcome, looking=False)

    async def _deliver(self, job: DeliveryJob, plan: Plan) -> Outcome:
        credentials = self._link.credentials
        if credentials is not None and not credentials.valid_at(job.now):
            return Outcome(
                OutcomeClass.CONFIGURATION, "CERTIFICATE", "Certificat du connecteur DMP hors validité."
            )
        if job.action is Action.DELETE:
            return await self._delete(job, plan)
        if job.may_be_there:
            found = await self._first_there(plan, (plan.unique_id,), job.now)
            if isinstance(found, Failure):
                return _outcome(found, _before_writing(found.outcome))
            if found:
                return _there_already("")
        if job.action is Action.REPLACE:
            return await self._replace(job, plan)
        return await self._submit(job, plan, None)

    async def reconcile(self, job: DeliveryJob) -> Outcome:
        """TD3.1b on our uniqueId: is it there? For a deletion: is it gone?"""
        plan = load(job.plan)
        outcome = await self._reconcile(job, plan)
        return self._sites.judge(plan.subject.structure, outcome, looking=True)

    async def _reconcile(self, job: DeliveryJob, plan: Plan) -> Outcome:
        found = await self._first_there(plan, _targets(job, plan), job.now)
        if isinstance(found, Failure):
            # a fault of ours stops the destination; anything else: still unknown, asked again
            ours = found.outcome is OutcomeClass.CONFIGURATION
            return _outcome(found, found.outcome if ours else OutcomeClass.UNCERTAIN)
        if bool(found) is not (job.action is Action.DELETE):
            return Outcome(
                OutcomeClass.SUCCESS, "", "Vérifié dans le DMP.", {"recovered": True, "references": found}
            )
        return Outcome(OutcomeClass.TRANSIENT, "NOT_DONE", "Vérifié : le DMP n'a rien enregistré.")

    def api(self, audit: Audit) -> FastAPI | None:
        """`connectors.port.WithApi`: consultation in AIR mode, when `api_tokens` names a file."""
        settings = self._settings
        if settings.api_tokens is None:
            return None
        tokens = TokenFile(settings.api_tokens)
        calls = Calls(settings, self._tables, self._roles, self._link, self._clock)
        # deliveries keep at least half of the connections
        return create_api(
            calls, tokens, audit, settings.api.max_request_size, max(1, settings.max_connections // 2)
        )

    def report(self, job_recipient: str, plan: bytes, outcome: Outcome) -> Report | None:
        """ZAM^Z01 of a final outcome."""
        if outcome.outcome is OutcomeClass.SUCCESS:
            return Report(event="Z01", accepted=True)
        return Report(event="Z01", accepted=False, code=outcome.code, label=outcome.label)

    # --- transactions ---------------------------------------------------------------------------------------

    async def _submit(self, job: DeliveryJob, plan: Plan, replaced: str | None) -> Outcome:
        content = await job.documents[0].read()
        # signing and canonicalising a large document takes longer than the event loop may wait
        request = await asyncio.to_thread(self._link.build.submit, plan, content, replaced, job.now)
        answer = await self._link.call(request, writes=True)
        if isinstance(answer, Failure):
            return await self._refused(job, plan, answer)
        return _done(answer, request)

    async def _replace(self, job: DeliveryJob, plan: Plan) -> Outcome:
        """TD3.1b for the entryUUID of the replaced version, then TD2.1b (§3.7)."""
        found = await self._first_there(plan, job.predecessor_uids or (plan.replaces,), job.now)
        if isinstance(found, Failure):
            return _outcome(found, _before_writing(found.outcome))
        if len(found) == 1:
            return await self._submit(job, plan, found[0])
        if len(found) > 1:
            return Outcome(
                OutcomeClass.PERMANENT, "AMBIGUOUS", "Plusieurs références pour la version à remplacer."
            )
        if job.predecessor is Predecessor.NOT_DELIVERED:
            return await self._submit(job, plan, None)
        missing = Failure(
            OutcomeClass.PERMANENT,
            "UNKNOWN_PREDECESSOR",
            "La version à remplacer est inconnue du DMP.",
            duplicate=True,
        )
        return await self._refused(job, plan, missing)

    async def _delete(self, job: DeliveryJob, plan: Plan) -> Outcome:
        """TD3.1b, then TD3.3c. Nothing to delete is what was asked for (§3.8)."""
        found = await self._first_there(plan, _targets(job, plan), job.now)
        if isinstance(found, Failure):
            return _outcome(found, _before_writing(found.outcome))
        if not found:
            return Outcome(OutcomeClass.SUCCESS, "", "Document absent du DMP.", {"already_gone": True})
        if len(found) > 1:
            return Outcome(
                OutcomeClass.PERMANENT, "AMBIGUOUS", "Plusieurs références pour le document à supprimer."
            )
        made = await self._set_deleted(plan, found[0], APPROVED, job.now)
        if isinstance(made, Failure) and made.code == "XDSMetadataUpdateError":
            # an archived document must say so in OriginalStatus, and TD3.1b does not tell (§3.8)
            made = await self._set_deleted(plan, found[0], ARCHIVED, job.now)
        return await self._refused(job, plan, made) if isinstance(made, Failure) else made

    async def _set_deleted(
        self, plan: Plan, entry_uuid: str, original: str, now: datetime
    ) -> Outcome | Failure:
        request = await asyncio.to_thread(
            self._link.build.status, plan.subject, plan.lot, entry_uuid, original, DELETED, now
        )
        answer = await self._link.call(request, writes=True)
        return answer if isinstance(answer, Failure) else _done(answer, request)

    async def _refused(self, job: DeliveryJob, plan: Plan, failure: Failure) -> Outcome:
        """A refusal that an earlier attempt of ours explains is a success: look before believing it.

        Only where an attempt of ours may have happened unseen: else a document already there is somebody
        else's, and ours was not published.
        """
        ours = job.uncertain_attempts > 0 or job.may_be_there
        if not failure.duplicate or not ours:
            return _outcome(failure, failure.outcome)
        found = await self._first_there(plan, _targets(job, plan), job.now)
        if isinstance(found, Failure):
            return _outcome(found, OutcomeClass.UNCERTAIN)
        if bool(found) is not (job.action is Action.DELETE):
            return _there_already(failure.code)
        return _outcome(failure, failure.outcome)

    async def _first_there(
        self, plan: Plan, unique_ids: tuple[str, ...], now: datetime
    ) -> tuple[str, ...] | Failure:
        """References of the first of these documents that the DMP has; none when it has none of them."""
        found: tuple[str, ...] | Failure = ()
        for unique_id in unique_ids:
            found = await self._find(plan, unique_id, now)
            if found:  # references, or a failure
                return found
        return found

    async def _find(self, plan: Plan, unique_id: str, now: datetime) -> tuple[str, ...] | Failure:
        """References (entryUUID) of one uniqueId."""
        request = await asyncio.to_thread(self._link.build.find, plan.subject, unique_id, now)
        answer = await self._link.call(request, writes=False)
        if isinstance(answer, Answer) and answer.partial:
            # what is not listed may be there all the same
            return Failure(OutcomeClass.TRANSIENT, "PartialSuccess", "Recherche incomplète dans le DMP.")
        return answer if isinstance(answer, Failure) else answer.references

    async def _ask_existence(
        self, preparation: Preparation, planned: PlannedDelivery, findings: Findings
    ) -> None:
        """TD0.2 while the sender waits; no answer is no reason to refuse."""
        sent = preparation.transmission
        ins = sent.patient.ins
        if ins is None:
            return
        patient = (ins.authority, ins.value)
        subject = load(planned.plan).subject
        request = await asyncio.to_thread(
            self._link.build.exists, subject, patient, sent.processing_id or "P", preparation.now
        )
        try:
            async with asyncio.timeout(self._settings.precheck_timeout):
                answer = await self._link.call(request, writes=False)
        except TimeoutError:
            return
        if isinstance(answer, Failure) or answer.content is None:
            return
        found = existence.read(answer.content)
        if isinstance(found, Existence) and not found.exists:
            findings.add("DMP-ABSENT", Place("PID", field=3))


def _targets(job: DeliveryJob, plan: Plan) -> tuple[str, ...]:
    """uniqueIds whose presence tells whether the transaction was made: ours, or those that a deletion is
    about (while one of them stands, the deletion is asked again: that does no harm)."""
    if job.action is Action.DELETE:
        return job.predecessor_uids or (plan.unique_id,)
    return (plan.unique_id,)


def _outcome(failure: Failure, outcome: OutcomeClass) -> Outcome:
    return Outcome(outcome, failure.code, failure.label, {OF_STRUCTURE: True} if failure.structure else {})


def _before_writing(outcome: OutcomeClass) -> OutcomeClass:
    """Class of a look-up that failed before anything was written: it is never uncertain."""
    return OutcomeClass.TRANSIENT if outcome is OutcomeClass.UNCERTAIN else outcome


def _there_already(code: str) -> Outcome:
    return Outcome(OutcomeClass.SUCCESS, code, "Déjà enregistré par un envoi précédent.", {"recovered": True})


def _done(answer: Answer, request: Request) -> Outcome:
    return Outcome(
        OutcomeClass.SUCCESS,
        details={
            "message_id": request.message_id,
            "submission_set": request.lot_uid,
            "warnings": list(answer.warnings),
        },
    )


def create(context: ConnectorContext) -> DmpConnector:
    """Entry point `segur_gateway.connectors`: dmp. Raises `ConfigurationFault`."""
    return DmpConnector(read_settings(context.settings, context.base_dir), context.software_version)
