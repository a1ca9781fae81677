"""The gateway as an ASGI application: what is opened, what runs beside it, who answers what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import cache

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ehr_fhir.errors import NotFound
from ehr_gateway.access_requests.record_changes import tell_consequence
from ehr_gateway.admission_queue import Turns
from ehr_gateway.audit_log.batcher import AuditBatcher
from ehr_gateway.audit_log.service import AuditLog, open_audit_log
from ehr_gateway.audit_log.trace import ReleaseSource
from ehr_gateway.background import BackgroundWork, create_background_work, tune_process
from ehr_gateway.cds_hooks import service_routes
from ehr_gateway.database import PostgresqlDatabase
from ehr_gateway.decision_support import DecisionSupport
from ehr_gateway.erasure.erased_patients import watch_erased_ids
from ehr_gateway.gateway import Gateway
from ehr_gateway.http.admission import Admission
from ehr_gateway.http.cors import Cors
from ehr_gateway.http.error_responses import install_error_handlers
from ehr_gateway.http.metrics import Metrics
from ehr_gateway.http.request_guard import RequestGuard
from ehr_gateway.import_runner import ImportRunner
from ehr_gateway.login import (
    account_change_pages,
    account_pages,
    administration,
    display_pages,
    eid,
    eid_pages,
    factor_pages,
    login_pages,
    login_steps,
    oauth_router,
    session_pages,
)
from ehr_gateway.login.eid_simulator import create_simulator
from ehr_gateway.loop_admission import LoopAdmission
from ehr_gateway.model_register import ModelRegister
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.offline_tokens import now_ms
from ehr_gateway.readiness import Readiness
from ehr_gateway.research_projects import ResearchProjects
from ehr_gateway.research_queries import ResearchQueries
from ehr_gateway.research_work import ResearchWork
from ehr_gateway.routes import feed, health, health_links
from ehr_gateway.routes.front_door import FrontDoor, is_fhir_path
from ehr_gateway.routes.route import RouteTable
from ehr_gateway.routes.table import FHIR_ROUTES
from ehr_gateway.served_address import record_served_address
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.closure import ClosureWatch
from ehr_gateway.store.store import Store
from ehr_gateway.store.write_validation import WriteValidation
from ehr_gateway.subscriptions.socket import SubscriptionSockets
from ehr_gateway.thread_admission import WORK_THREADS, ThreadAdmission
from ehr_gateway.tokens.access_tokens import TokenVerifier
from ehr_gateway.tokens.keys import load_form_secret, open_signing_keys
from ehr_gateway.tokens.revocations import RevocationList
from ehr_gateway.transaction.cooperative_writer import CooperativeWriter
from ehr_gateway.transaction.event_loop_writer import EventLoopWriter
from ehr_gateway.transaction.write_batch import BatchWriter

# FastAPI would hand addresses, and the texts of exceptions, to any OpenTelemetry provider of the
# process; both may hold values of a record. To look for one costs each request time, too.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
# What is not FHIR REST; that is in `routes/table.py`.
ROUTERS = tuple(
    module.router
    for module in (
        health,
        feed,
        health_links,
        service_routes,
        oauth_router,
        login_steps,
        login_pages,
        account_pages,
        factor_pages,
        display_pages,
        session_pages,
        account_change_pages,
        administration,
        eid_pages,
    )
)


class GatewayApplication(FastAPI):
    """FHIR requests go to the front door, all others to FastAPI's routing.

    FastAPI's own layers lie between a request and any middleware of ours; FHIR needs none of them.
    """

    front_door: ASGIApp
    sockets: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's lifespan."""
        if scope["type"] == "websocket":
            await self.sockets(scope, receive, send)
        elif scope["type"] == "http" and is_fhir_path(scope["path"]):
            scope["app"] = self
            await self.front_door(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_gateway(
    settings: GatewaySettings,
    *,
    clock: Callable[[], int] = now_ms,
    store: Store | None = None,
    research: ResearchQueries | None = None,
    projects: ResearchProjects | None = None,
    research_work: ResearchWork | None = None,
    releases: ReleaseSource | None = None,
    decision_support: DecisionSupport | None = None,
    models: ModelRegister | None = None,
    imports: ImportRunner | None = None,
) -> GatewayApplication:
    """Make the application over a data folder; its tables and keys are made when missing.

    A store handed in stays the caller's to close. `research` answers SQL over the lake,
    `projects` has the research projects, `research_work` the work in them, `releases` the steps
    that led to each release. `decision_support` answers CDS Hooks, `models`
    has the platform's models, `imports` carries `$import` out.
    """
    is_own_store = store is None
    settings.data.mkdir(parents=True, exist_ok=True)
    record_served_address(settings.data, settings.base_url)
    gateway, log = _open_gateway(
        settings,
        store or Store(settings.database, settings.data),
        clock,
        research,
        projects,
        research_work,
    )
    gateway = replace(
        gateway,
        releases=releases,
        decision_support=decision_support,
        models=models,
        imports=imports,
    )
    work = create_background_work(gateway, log)
    metrics = Metrics(settings.metrics_folder)
    readiness = Readiness(gateway.store, settings.data)
    lifespan = _create_lifespan(gateway, log, work, metrics, readiness, close_store=is_own_store)
    app = GatewayApplication(
        title="eHR Commons",
        # No interactive documentation: its page would load scripts from another origin.
        openapi_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.state.gateway = gateway
    app.state.audit_log = log
    app.state.reindexing = work.reindexing
    app.state.deliveries = work.deliveries
    app.state.subscriptions = work.subscriptions
    app.state.metrics = metrics
    app.state.readiness = readiness
    app.router.routes.extend(_routes_beside_fhir())
    _connect_eid(app, gateway)
    install_error_handlers(app)
    # From the inside out: the last one added meets a request first.
    app.add_middleware(Admission, threads=gateway.threads)
    app.add_middleware(RequestGuard, metrics=metrics)
    app.add_middleware(Cors)
    app.sockets = SubscriptionSockets(gateway, work.subscriptions.services)
    app.front_door = Cors(RequestGuard(FrontDoor(RouteTable(FHIR_ROUTES)), metrics=metrics))
    return app


@cache
def _routes_beside_fhir() -> list[BaseRoute]:
    """Return the routes of ROUTERS.

    Made once in a process: FastAPI looks into the parameters of every function when the first
    request comes, and does it again for each application that includes a router.
    """
    joined = APIRouter()
    for router in ROUTERS:
        joined.include_router(router)
    return joined.routes


def _open_gateway(
    settings: GatewaySettings,
    store: Store,
    clock: Callable[[], int],
    research: ResearchQueries | None,
    projects: ResearchProjects | None,
    research_work: ResearchWork | None,
) -> tuple[Gateway, AuditLog]:
    """Open journal, audit log and keys beside a store."""
    store.attach_journal(settings.journal_folder, settings.keys)
    store.tell_consequence = tell_consequence
    watch_erased_ids(store, settings.keys)
    _register_own_clients(store)
    log = open_audit_log(settings, store.database, clock)
    keys = open_signing_keys(settings.keys)
    revocations = RevocationList(store.database, settings.keys)
    gateway = Gateway(
        settings=settings,
        store=store,
        audit_batcher=AuditBatcher(store, log.spool),
        writer=_create_writer(store),
        threads=ThreadAdmission(),
        loop=LoopAdmission(),
        cooperative_turns=Turns(WORK_THREADS),
        keys=keys,
        verifier=TokenVerifier(keys, settings, revocations),
        revocations=revocations,
        closure=ClosureWatch(store.database),
        form_secret=load_form_secret(settings.keys),
        clock=clock,
        research=research,
        projects=projects,
        research_work=research_work,
        write_validation=_create_write_validation(settings, store),
    )
    return gateway, log


def _create_write_validation(settings: GatewaySettings, store: Store) -> WriteValidation | None:
    if settings.validation.mode == "off":
        return None
    return WriteValidation(settings.validation, store.database)


def _create_writer(store: Store) -> BatchWriter:
    if store.embedded is not None:
        return EventLoopWriter(store.embedded)
    assert isinstance(store.database, PostgresqlDatabase)  # noqa: S101 - there is no third
    return CooperativeWriter(store.database)


def _create_lifespan(
    gateway: Gateway,
    log: AuditLog,
    work: BackgroundWork,
    metrics: Metrics,
    readiness: Readiness,
    *,
    close_store: bool,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the context in which the application serves: its threads run, then all is closed."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        work.start()
        tune_process()
        yield
        # In a thread: the event loop still ends transactions of PostgreSQL, and the last call of
        # what finishes an erasure waits for them.
        await anyio.to_thread.run_sync(work.stop)
        log.spool.close()
        metrics.close()
        readiness.close()
        gateway.revocations.close()
        if close_store:
            gateway.store.close()

    return lifespan


def _connect_eid(app: FastAPI, gateway: Gateway) -> None:
    """Reach the provider of electronic identities, or the simulator where none is named."""
    settings, secret = gateway.settings, f"eid {gateway.form_secret}"
    simulator = create_simulator(
        gateway.store.database,
        settings.base_url,
        f"{settings.base_url}{eid_pages.CALLBACK}",
        secret,
        gateway.clock,
    )
    app.state.eid = eid.create_provider(settings, simulator, secret)
    if not settings.eid_authorize_url:
        # Another service that only runs in the same process: it knows this one by HTTP alone.
        app.mount(eid.SIMULATOR_PATH, simulator)


def _register_own_clients(store: Store) -> None:
    """Register the portal, and the app that comes along, as OAuth clients, once.

    The app waits for a steward, like one that registers itself.
    """
    for client in (clients.PORTAL, clients.GROWTH_CHART):
        try:
            clients.find_client(store, client.id)
        except NotFound:
            clients.register_client(store, client)
