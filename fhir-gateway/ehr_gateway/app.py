"""The gateway as a web application."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from ehr_fhir.errors import NotFound
from ehr_gateway.audit_log.batcher import AuditBatcher
from ehr_gateway.audit_log.service import open_audit_log
from ehr_gateway.audit_log.timer import Timer
from ehr_gateway.gateway import Gateway
from ehr_gateway.http.cors import Cors
from ehr_gateway.http.error_responses import install_error_handlers
from ehr_gateway.http.metrics import Metrics
from ehr_gateway.http.request_guard import RequestGuard
from ehr_gateway.login import (
    account_pages,
    administration,
    eid,
    eid_pages,
    factor_pages,
    login_pages,
    login_steps,
    oauth_router,
    session_pages,
)
from ehr_gateway.login.eid_simulator import create_simulator
from ehr_gateway.notices.channels import open_channels
from ehr_gateway.notices.delivery import DeliveryWorker
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.offline_tokens import now_ms
from ehr_gateway.routes import feed, health
from ehr_gateway.routes.front_door import FrontDoor
from ehr_gateway.routes.route import RouteTable
from ehr_gateway.routes.table import FHIR_ROUTES
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.closure import ClosureWatch
from ehr_gateway.store.reindex import ReindexThread
from ehr_gateway.store.store import Store
from ehr_gateway.tokens.access_tokens import TokenVerifier
from ehr_gateway.tokens.keys import load_form_secret, open_signing_keys
from ehr_gateway.tokens.revocations import RevocationList
from ehr_gateway.transaction.event_loop_writer import EventLoopWriter

_THREADS = 8
_CARRY_SECONDS = 1.0
# What is not settled is in doubt for a restore, and closes the whole store: chosen short.
_SETTLE_SECONDS = 1.0
_NEW_OBJECTS = 10_000
ROUTERS = tuple(
    module.router
    for module in (
        health,
        feed,
        oauth_router,
        login_steps,
        login_pages,
        account_pages,
        factor_pages,
        session_pages,
        administration,
        eid_pages,
    )
)


def create_gateway(
    settings: GatewaySettings, *, clock: Callable[[], int] = now_ms, store: Store | None = None
) -> FastAPI:
    """Make the application over a data folder; its tables and keys are made when missing.

    A store handed in stays the caller's to close.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    own = store is None
    opened = store or Store(settings.database, settings.data)
    opened.attach_journal(settings.journal_folder, settings.keys)
    _register_portal(opened)
    keys = open_signing_keys(settings.keys)
    standing = RevocationList(opened.database, settings.keys)

    reindexing = ReindexThread(opened)
    log = open_audit_log(settings, opened.database, clock)
    timers = (
        Timer("row into the audit log", log.spool.flush, _CARRY_SECONDS),
        Timer("settled entry of the journal", opened.settle_journal, _SETTLE_SECONDS),
        Timer("checkpoint of the audit log", log.flush_and_sign, settings.audit_checkpoint_seconds),
    )

    secret = load_form_secret(settings.keys)
    deliveries = DeliveryWorker(
        opened,
        open_channels(settings.notices, settings.data / "notices"),
        log.spool.flush,
        secret=secret,
        address=settings.base_url,
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reindexing.start()
        deliveries.start()
        for timer in timers:
            timer.start()
        # More threads than that only take the interpreter from each other.
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        # What is made by now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        # Requests make many objects and hardly a cycle: seldom is often enough to look for one.
        gc.set_threshold(_NEW_OBJECTS)
        yield
        deliveries.stop()
        reindexing.stop()
        for timer in timers:
            timer.stop()
        log.spool.close()
        standing.close()
        if own:
            opened.close()

    # No interactive documentation: its page would load scripts from another origin.
    app = FastAPI(title="eHR Commons", openapi_url=None, lifespan=lifespan, redirect_slashes=False)
    app.state.gateway = Gateway(
        settings,
        opened,
        AuditBatcher(opened, log.spool),
        None if opened.embedded is None else EventLoopWriter(opened.embedded),
        keys,
        TokenVerifier(keys, settings, standing),
        standing,
        ClosureWatch(opened.database),
        secret,
        clock,
    )
    simulator = create_simulator(
        opened.database, settings.base_url, f"{settings.base_url}{eid_pages.CALLBACK}",
        f"eid {secret}", clock,
    )  # fmt: skip
    app.state.eid = eid.create_provider(settings, simulator, f"eid {secret}")
    app.state.metrics = Metrics()
    app.state.reindexing = reindexing
    app.state.deliveries = deliveries
    app.state.audit_log = log
    for router in ROUTERS:
        app.include_router(router)
    if not settings.eid_authorize_url:
        # Another service, that only runs in the same process: it knows this one by HTTP alone.
        app.mount(eid.SIMULATOR_PATH, simulator)
    install_error_handlers(app)
    # From the inside out: the last one added meets a request first.
    app.add_middleware(FrontDoor, table=RouteTable(FHIR_ROUTES))
    app.add_middleware(RequestGuard, metrics=app.state.metrics)
    app.add_middleware(Cors)
    return app


def _register_portal(store: Store) -> None:
    try:
        clients.find_client(store, clients.PORTAL.id)
    except NotFound:
        clients.register_client(store, clients.PORTAL)
