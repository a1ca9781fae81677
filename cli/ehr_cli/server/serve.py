"""Gateway and portal as one ASGI application, served by uvicorn.

The gateway's paths go to the gateway, all others to the portal. The portal still speaks HTTP to the
gateway, only without a socket between them.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.decision_support import (
    EarlyWarningService,
    MedicineCheckService,
    ModelServices,
    PlatformDecisionSupport,
)
from ehr_cli.import_process import ImportProcess
from ehr_cli.model_decisions import LoggedDecisions
from ehr_cli.registered_models import RegisteredModels
from ehr_cli.research_lineage import RegisterLineage
from ehr_cli.research_projects import RegisteredProjects
from ehr_cli.research_queries import ProjectQueries
from ehr_cli.research_work import RegisteredWork
from ehr_cli.server.companion import Companion
from ehr_cli.server.http_server import create_server
from ehr_cli.server.port import is_port_free
from ehr_cli.server.workers import serve_with_workers
from ehr_cli.settings import Settings, to_environment
from ehr_fhir.errors import Unavailable
from ehr_gateway.app import create_gateway
from ehr_gateway.http.metrics import clear_counts
from ehr_inbound.bulk_files.work_folder import clear_leftovers
from ehr_portal import PortalSettings, create_portal
from ehr_portal.web.templates import compile_templates

GATEWAY_PATHS = ("fhir", "cds-services", "oauth", "shl", "feed", "healthz", "readyz", "metrics")
# RFC 6797; two years in seconds, twice what the preload list asks at least.
_HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


class Platform:
    """The ASGI application of one process: the gateway and the portal.

    `secure` says that browsers reach it by HTTPS, and shall by nothing else from then on.
    """

    def __init__(self, gateway: Any, portal: Any, *, secure: bool = False) -> None:
        self._secure = secure
        # FastAPI applications; only their lifespan, call and state are used.
        self.gateway: Any = gateway
        self.portal: Any = portal

        @asynccontextmanager
        async def both_lifespans(app: Starlette) -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                for part in (gateway, portal):
                    await stack.enter_async_context(part.router.lifespan_context(part))
                yield

        self._lifespan = Starlette(lifespan=both_lifespans)

    def begin_shutdown(self) -> None:
        """Let what would otherwise go on for long come to its end: live rows, long polls."""
        self.portal.state.portal.live_streams.close()
        self.gateway.state.is_ending = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the part it is for."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        # `OPTIONS *` has no path.
        first_segment = (*scope["path"].split("/", 2), "")[1]
        part = self.gateway if first_segment in GATEWAY_PATHS else self.portal
        await part(scope, receive, _with_hsts(send) if self._secure else send)


def _with_hsts(send: Send) -> Send:
    async def send_with_hsts(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], _HSTS]
        await send(message)

    return send_with_hsts


def create_platform(settings: Settings) -> Platform:
    """Return the application of one process."""
    research = ProjectQueries(settings.data)
    research.watch_exports()
    work = RegisteredWork(settings.data, gateway_settings(settings).database)
    decisions = LoggedDecisions()
    imports = ImportProcess(settings)
    gateway = create_gateway(
        gateway_settings(settings),
        research=research,
        projects=RegisteredProjects(settings.data),
        research_work=work,
        releases=RegisterLineage(settings.data),
        decision_support=PlatformDecisionSupport(
            [MedicineCheckService(), EarlyWarningService()],
            [ModelServices(settings.data, decisions)],
        ),
        models=RegisteredModels(settings.data, decisions),
        imports=imports,
    )
    decisions.database = gateway.state.gateway.store.database
    if (settings.data / "imports").exists():
        # Those that a restart cut off go on.
        imports.start()
    work.resume_runs(gateway.state.gateway.store.list_changed_subjects)
    # The file lets worker processes share sessions.
    portal = PortalSettings(
        settings.base_url,
        settings.data / "portal-sessions.db",
        open_data=settings.data / "open-data",
        # It says about whom something was written: who may see what of it the gateway judges.
        probe_changes=gateway.state.gateway.store.changes_after,
    )
    secure = settings.base_url.startswith("https://")
    return Platform(
        gateway, create_portal(in_process_client(gateway, settings), portal), secure=secure
    )


def in_process_client(gateway: Any, settings: Settings) -> httpx.AsyncClient:
    """Return an HTTP client of the gateway that needs no socket, for the portal."""
    # The portal calls from this machine; the gateway believes its X-Forwarded-For.
    proxied_gateway = ProxyHeadersMiddleware(gateway, "127.0.0.1")
    transport = httpx.ASGITransport(app=proxied_gateway, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(
        transport=transport,
        base_url=settings.base_url,
        # Nothing is to be saved on the way from memory to memory.
        headers={"Accept-Encoding": "identity"},
    )


def serve(
    settings: Settings, on_ready: Callable[[str], None], companion_module: str | None = None
) -> None:
    """Serve until interrupted; say one line when requests are answered.

    A companion is a module that runs in a process of its own, from when requests are answered.
    """
    if not is_port_free(settings.host, settings.port):
        raise Unavailable(
            f"Another program has port {settings.port} of {settings.host}. Choose one with --port."
        )
    prepare_data_folder(settings)
    clear_leftovers(settings.data)
    # Before there are workers: each goes on with the counts it finds.
    clear_counts(gateway_settings(settings).metrics_folder)
    companion = Companion(companion_module, to_environment(settings)) if companion_module else None
    announcer = threading.Thread(
        target=_announce, args=(settings, on_ready, companion), daemon=True
    )
    with _stop_with_server(companion):
        if settings.workers == 1:
            announcer.start()
            _prepare_pages()
            create_server(create_platform(settings), settings).run()
            return
        address = settings.host, settings.port
        serve_with_workers(
            settings.workers, address, partial(_serve_in_worker, settings), announcer.start
        )


@contextmanager
def _stop_with_server(companion: Companion | None) -> Iterator[None]:
    """End a companion when the server has ended, by a signal too."""
    if companion is None:
        yield
        return
    # The server ends itself by the signal once more: that shall not pass the lines below.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        companion.stop()


def _serve_in_worker(settings: Settings, bound: socket.socket, on_beat: Callable[[], None]) -> None:
    _prepare_pages()
    create_server(create_platform(settings), settings, on_beat).run(sockets=[bound])


def _prepare_pages() -> None:
    """Compile the pages' templates beside the first requests, which need few of them."""
    threading.Thread(target=compile_templates, name="templates", daemon=True).start()


def wait_until_ready(base_url: str, seconds: float = 60) -> bool:
    """Ask /readyz until it answers; return whether it did in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{base_url}/readyz", timeout=5).status_code == 200:
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False


def _announce(
    settings: Settings, on_ready: Callable[[str], None], companion: Companion | None
) -> None:
    if wait_until_ready(f"http://{settings.host}:{settings.port}"):
        if companion is not None:
            companion.start()
        on_ready(f"eHR Commons is ready at {settings.base_url} (FHIR at {settings.base_url}/fhir).")
