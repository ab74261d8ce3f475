"""The API's calls: from a checked request to the DMP and back, without HTTP.

Purpose: who speaks (AIR subject), what is asked, what goes back.
Guarantee: a call is made only for an INS whose key is right and whose domain the environment allows, in the name of a
structure that our certificate speaks for, with roles that the DMP takes and an authentication that is recent.
Fails: `WrongCall` for a request that must not be sent; `Failure` from the DMP.
Source: spec/dmp.md §2.2 to §2.4, §3.6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from connectors.dmp import api_models as models
from connectors.dmp.consultation import Consultation, Search, Updated
from connectors.dmp.link import Link
from connectors.dmp.preparation import own_structures
from connectors.dmp.responses import Failure
from connectors.dmp.roles import Roles
from connectors.dmp.settings import DmpSettings
from connectors.dmp.vihf import StrongAuthentication, VihfSubject
from connectors.xds import ebrim, formats, queries
from connectors.xds.model import SubmissionSet, XdsAuthor, XdsCode
from connectors.xds.tables import Tables
from gateway.errors import GatewayError
from gateway.hl7.profile.identity import ins_key_ok

Result = Mapping[str, Any] | Failure
CODES: Final = {
    "professionals": "MASQUE_PS",
    "patient": "INVISIBLE_PATIENT",
    "representatives": "INVISIBLE_REPRESENTANTS_LEGAUX",
}
_SKEW = timedelta(minutes=5)
_CONTENT_SYSTEM = "1.2.250.1.213.2.2"


class WrongCall(GatewayError):
    """A request that is refused before the DMP is asked. `message` is French; no value is quoted."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(f"{field}: {code}")
        self.field = field
        self.code = code
        self.message = message


class Calls:
    """One per connector."""

    def __init__(
        self,
        settings: DmpSettings,
        tables: Tables,
        roles: Roles,
        link: Link,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._tables = tables
        self._roles = roles
        self._link = link
        self._clock = clock
        self._consult = Consultation(link, clock)

    async def existence(self, asked: models.Asked) -> Result:
        """TD0.2."""
        patient = (asked.patient.oid, asked.patient.ins)
        found = await self._consult.exists(self._subject(asked), patient, self._settings.api.processing_id)
        if isinstance(found, Failure):
            return found
        return {"exists": found.exists, "status": found.status, "facts": dict(found.facts)}

    async def find_documents(self, asked: models.DocumentsAsked) -> Result:
        """FindDocuments."""
        subject = self._subject(asked)
        return await _found(
            await self._consult.search(subject, queries.find_documents(subject.patient, asked.filter()))
        )

    async def find_sets(self, asked: models.SetsAsked) -> Result:
        """FindSubmissionSets."""
        subject = self._subject(asked)
        return await _found(
            await self._consult.search(subject, queries.find_submission_sets(subject.patient, asked.filter()))
        )

    async def named(self, name: str, asked: models.NamedAsked) -> Result:
        """GetDocuments, GetDocumentsAndAssociations."""
        make = queries.get_documents if name == "GetDocuments" else queries.get_documents_and_associations
        subject = self._subject(asked)
        if asked.unique_ids:
            return await _found(
                await self._consult.search_batches(subject, lambda part: make(part), asked.unique_ids)
            )
        return await _found(
            await self._consult.search_batches(
                subject, lambda part: make(entry_uuids=part), asked.entry_uuids
            )
        )

    async def uuids(self, name: str, asked: models.UuidsAsked) -> Result:
        """GetAssociations, GetSubmissionSets."""
        make = queries.get_associations if name == "GetAssociations" else queries.get_submission_sets
        return await _found(await self._consult.search_batches(self._subject(asked), make, asked.entry_uuids))

    async def one(self, name: str, asked: models.OneAsked) -> Result:
        """GetRelatedDocuments, GetSubmissionSetAndContents."""
        unique_id, entry_uuid = asked.unique_id or "", asked.entry_uuid or ""
        if name == "GetRelatedDocuments":
            query = queries.get_related_documents(unique_id, entry_uuid)
        else:
            query = queries.get_submission_set_and_contents(unique_id, entry_uuid)
        return await _found(await self._consult.search(self._subject(asked), query))

    async def newest(self, asked: models.DocumentAsked) -> Result:
        """The RPLC chain of one document."""
        found = await self._consult.lineage(self._subject(asked), asked.unique_id)
        if isinstance(found, Failure):
            return found
        return {
            "unique_id": asked.unique_id,
            "is_newest": found.is_newest,
            "newer_hidden": found.newer_hidden,
            "newest": models.document_out(found.newest),
            "versions": [
                {
                    "unique_id": v.unique_id,
                    "entry_uuid": v.entry_uuid,
                    "status": models.status_out(v.status),
                    "created": models.time_out(v.creation_time),
                }
                for v in found.versions
            ],
        }

    async def retrieve(self, asked: models.DocumentAsked) -> Result:
        """TD3.2. `content` is bytes here."""
        found = await self._consult.retrieve(self._subject(asked), asked.unique_id)
        if isinstance(found, Failure):
            return found
        return {"document": models.document_out(found.document), "content": found.content}

    async def visibility(self, asked: models.VisibilityAsked) -> Result:
        """TD3.3a, TD3.3b."""
        made = await self._consult.set_confidentiality(
            self._subject(asked),
            self._lot(asked, "Modification de la visibilité"),
            asked.unique_id,
            add=[self._tables.confidentiality[CODES[a]] for a in asked.hide_from],
            remove={CODES[a] for a in asked.show_to},
        )
        return _updated(made)

    async def archive(self, asked: models.ArchiveAsked) -> Result:
        """TD3.3d."""
        made = await self._consult.set_status(
            self._subject(asked),
            self._lot(asked, "Archivage" if asked.archived else "Désarchivage"),
            asked.unique_id,
            ebrim.ARCHIVED if asked.archived else ebrim.APPROVED,
        )
        return _updated(made)

    # --- who speaks -----------------------------------------------------------------------------------------------

    def _subject(self, asked: models.Asked) -> VihfSubject:
        user, patient, now = asked.user, asked.patient, self._clock()
        allowed = self._settings.ins_oids.get(self._settings.api.processing_id, ())
        if patient.oid not in allowed:
            raise WrongCall("patient.oid", "INS_DOMAIN", "Le domaine de l'INS n'est pas admis ici.")
        if not ins_key_ok(patient.ins):
            raise WrongCall("patient.ins", "INS_KEY", "Le matricule INS est incorrect (forme ou clé).")
        credentials = self._link.credentials
        of_certificate = credentials.signing.structure if credentials else ""
        if user.structure not in own_structures(self._settings, of_certificate):
            raise WrongCall(
                "user.structure",
                "STRUCTURE",
                "Le certificat de l'établissement ne couvre pas cette structure.",
            )
        roles = self._roles.of((r.system, r.code) for r in user.roles)
        if roles is None:
            raise WrongCall(
                "user.roles", "ROLE", "Rôle inconnu de JDV_J65, ou spécialité absente (médecin, pharmacien)."
            )
        if user.purpose not in self._settings.vihf.purposes:
            raise WrongCall("user.purpose", "PURPOSE", "Ce mode d'accès n'est pas configuré.")
        age = now - user.authenticated_at
        if age < -_SKEW or age > timedelta(seconds=self._settings.api.max_authentication_age):
            raise WrongCall(
                "user.authenticated_at",
                "AUTHENTICATION",
                "L'authentification forte est trop ancienne ou à venir.",
            )
        return VihfSubject(
            structure=user.structure,
            name_id=user.id,
            display=f"{user.family} {user.given}",
            patient=formats.cx(patient.ins, patient.oid, "NH"),
            roles=roles,
            strong=StrongAuthentication(user.authentication, user.authenticated_at, user.purpose),
        )

    def _lot(self, asked: models.Asked, title: str) -> SubmissionSet:
        """The lot of an update: its author is the user."""
        user = asked.user
        wanted = self._settings.api.content_type
        content = next(
            (c for c in self._tables.content_by_class.values() if c.code == wanted),
            XdsCode(wanted, _CONTENT_SYSTEM, wanted),
        )
        return SubmissionSet(
            unique_id="",
            source_id=self._settings.instance_oid,
            submission_time="",
            title=title,
            content_type=content,
            patient_id=formats.cx(asked.patient.ins, asked.patient.oid, "NH"),
            author=XdsAuthor(
                institution=(formats.xon(user.structure_name, user.structure),),
                person=formats.xcn(user.id, user.family, user.given),
            ),
        )


async def _found(made: Search | Failure) -> Result:
    if isinstance(made, Failure):
        return made
    objects = await asyncio.to_thread(models.found_out, made.found)
    return {**objects, "partial": made.partial, "warnings": list(made.warnings)}


def _updated(made: Updated | Failure) -> Result:
    if isinstance(made, Failure):
        return made
    return {"unique_id": made.unique_id, "changed": made.changed, "recovered": made.recovered}
