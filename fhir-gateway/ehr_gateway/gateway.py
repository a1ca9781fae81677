"""The state of one gateway process, and how a request reaches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from ehr_gateway.admission_queue import Turns
from ehr_gateway.audit_log.batcher import AuditBatcher
from ehr_gateway.audit_log.trace import ReleaseSource
from ehr_gateway.decision_support import DecisionSupport
from ehr_gateway.import_runner import ImportRunner
from ehr_gateway.loop_admission import LoopAdmission
from ehr_gateway.model_register import ModelRegister
from ehr_gateway.research_projects import ResearchProjects
from ehr_gateway.research_queries import ResearchQueries
from ehr_gateway.research_work import ResearchWork
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.closure import ClosureWatch
from ehr_gateway.store.profile_libraries import ProfileLibraries
from ehr_gateway.store.store import Store
from ehr_gateway.store.write_validation import WriteValidation
from ehr_gateway.thread_admission import ThreadAdmission
from ehr_gateway.tokens.access_tokens import TokenVerifier
from ehr_gateway.tokens.keys import SigningKeys
from ehr_gateway.tokens.revocations import RevocationList
from ehr_gateway.transaction.write_batch import BatchWriter


@dataclass(frozen=True)
class Gateway:
    """Settings, store, keys and clock of one process; made once, shared by all its requests."""

    settings: GatewaySettings
    store: Store
    audit_batcher: AuditBatcher
    # Makes short writes on the event loop.
    writer: BatchWriter
    keys: SigningKeys
    verifier: TokenVerifier
    # The threads that work on requests, and the event loop, where it answers itself.
    threads: ThreadAdmission
    loop: LoopAdmission
    # Of the requests that wait for a database server on the event loop.
    cooperative_turns: Turns
    # Access tokens that were revoked before they expire.
    revocations: RevocationList
    # Whether a restore left the store closed to all but patients and stewards.
    closure: ClosureWatch
    # Seals the hidden field of the log-in forms.
    form_secret: str
    # Milliseconds since 1970, UTC.
    clock: Callable[[], int]
    # SQL over the de-identified tables of the lake; None where the gateway stands alone.
    research: ResearchQueries | None = None
    # Research projects; None where the gateway stands alone.
    projects: ResearchProjects | None = None
    # The work in them; None where the gateway stands alone.
    research_work: ResearchWork | None = None
    # What answers CDS Hooks; None where the gateway stands alone.
    decision_support: DecisionSupport | None = None
    # The platform's models; None where the gateway stands alone.
    models: ModelRegister | None = None
    # Where releases came from; None where the gateway stands alone.
    releases: ReleaseSource | None = None
    # What carries imports out; None where the gateway stands alone.
    imports: ImportRunner | None = None
    # The profiles in the store, compiled.
    profiles: ProfileLibraries = field(default_factory=ProfileLibraries)
    # What writes are checked for beyond their structure; None where the settings want nothing.
    write_validation: WriteValidation | None = None


def gateway_of(request: Request) -> Gateway:
    """Return the gateway the application was made with."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def _dependency(request: Request) -> Gateway:
    # Async, though it waits for nothing: a plain dependency would cost a change of thread.
    return gateway_of(request)


GatewayDependency = Annotated[Gateway, Depends(_dependency)]
