"""Deliver notifications to endpoints (rest-hook): in order, signed, again until they are taken.

Nothing leaves before it is numbered and on record: the transaction that does so begins when the
connection stands, asks consent once more, and commits before the first byte of the request. An
endpoint that cannot be reached is told nothing, so nothing is on record of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx

from ehr_fhir.errors import EhrError, Unavailable
from ehr_gateway.database import Connection
from ehr_gateway.gateway import Gateway
from ehr_gateway.subscriptions.authority import AuthorityEnded, access_of, begin_audit
from ehr_gateway.subscriptions.content import Wish, parse_stored
from ehr_gateway.subscriptions.endpoints import EndpointRefused, resolve_endpoint
from ehr_gateway.subscriptions.events import Judged, commit_told, has_waiting, judge_waiting
from ehr_gateway.subscriptions.feed import FeedMatcher
from ehr_gateway.subscriptions.notification import NotificationType, build_notification
from ehr_gateway.subscriptions.rows import StoredSubscription, end_subscription, find_subscription
from ehr_gateway.subscriptions.services import SubscriptionServices

__all__ = ["SubscriptionWorker"]

_LOG = logging.getLogger(__name__)
# Deliveries at once, of all and of one owner. Chosen: a slow endpoint keeps only its owner waiting.
_MOST_AT_ONCE, _MOST_OF_OWNER = 32, 4
_MOST_DUE = 5000
# Notifications to one endpoint before the others are looked at again. Chosen.
_MOST_IN_A_ROW = 20
# The pause after the first failure, which doubles with each; after so many the state is `error`,
# after so long a time the endpoint is given up. Chosen: a weekend and a day.
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 5_000, 3_600_000
_FAILURES_TO_ERROR = 3
_GIVE_UP_MS = 72 * 3_600_000
# For how long nothing is told where that is nobody's fault, as in a store that is closed.
_POSTPONED_MS = 60_000
_GONE = 410
# Chosen: deliveries wait for endpoints, hardly for the database.
_DATABASE_THREADS = 4
_FAILED_SECONDS = 5.0
_Result = TypeVar("_Result")
_SENDING = "http11.send_request_headers.started"


class _Superseded(Exception):
    """What was prepared is not what may be sent now; it is prepared anew."""


@dataclass(frozen=True)
class _Attempt:
    """One notification on its way."""

    stored: StoredSubscription
    wish: Wish
    kind: NotificationType
    judged: Judged
    body: bytes
    # Stays the same when the same events are sent again.
    message: str


@dataclass(frozen=True)
class _NotYet:
    """Nothing to send yet, but there may be at once."""


@dataclass(frozen=True)
class _Outcome:
    """How an attempt ended: without an error it was taken."""

    error: str | None = None
    # Seconds, as the endpoint asked for.
    retry_after: int = 0


class SubscriptionWorker:
    """Matches the feed and delivers what is due, in a thread with an event loop of its own."""

    def __init__(self, gateway: Gateway, services: SubscriptionServices, seconds: float) -> None:
        self.services = services
        self._gateway = gateway
        self._services = services
        # Between two looks; 0 runs no thread.
        self._seconds = seconds
        self._matcher = FeedMatcher(gateway, services)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_flight: dict[str, str] = {}
        self._threads = ThreadPoolExecutor(_DATABASE_THREADS, "subscriptions")

    def start(self) -> None:
        """Start the thread."""
        if self._seconds > 0:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="subscriptions", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop; what is under way is sent again by the next process."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._threads.shutdown(wait=False)
        self._threads = ThreadPoolExecutor(_DATABASE_THREADS, "subscriptions")

    def run_once(self) -> None:
        """Match what was written and deliver what is due; return when each was tried once."""
        # On a thread of its own: the caller's may have a loop.
        with self._lock, ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, self._run_once()).result()  # noqa: TID251

    async def _in_thread(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run what asks the database, apart from look-ups of names, which may take long."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                # Only where anybody subscribed is there a loop.
                if self._matcher.match():
                    asyncio.run(self._serve())  # noqa: TID251 - the thread is this worker's
            except Exception as error:
                # Without the error's text, which may contain a value.
                _LOG.warning("Subscriptions failed with %s; tried again.", type(error).__name__)
                self._stopping.wait(_FAILED_SECONDS)
        with suppress(Exception):
            self._matcher.give_up()

    async def _run_once(self) -> None:
        if await self._in_thread(self._matcher.match):
            async with self._open_client() as client:
                await asyncio.gather(
                    *(
                        self._deliver(client, identity)
                        for identity, _ in await self._in_thread(self._find_due)
                    )
                )

    async def _serve(self) -> None:
        """Match and deliver as long as this process leads."""
        tasks: set[asyncio.Task[None]] = set()
        async with self._open_client() as client:
            while not self._stopping.is_set() and await self._in_thread(self._matcher.match):
                for identity, owner in await self._in_thread(self._find_due):
                    if self._has_place(identity, owner):
                        self._in_flight[identity] = owner
                        task = asyncio.create_task(self._deliver_logged(client, identity))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                await asyncio.sleep(self._seconds)
            # What is under way is sent again by the next process: no stop waits for an endpoint.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _has_place(self, identity: str, owner: str) -> bool:
        of_owner = Counter(self._in_flight.values())[owner]
        return (
            identity not in self._in_flight
            and len(self._in_flight) < _MOST_AT_ONCE
            and of_owner < _MOST_OF_OWNER
        )

    async def _deliver_logged(self, client: httpx.AsyncClient, identity: str) -> None:
        try:
            await self._deliver(client, identity)
        except Exception as error:
            _LOG.warning("A notification failed with %s.", type(error).__name__)
            with suppress(Exception):
                await self._in_thread(
                    self._postpone, identity, self._gateway.clock() + _POSTPONED_MS
                )
        finally:
            self._in_flight.pop(identity, None)

    @staticmethod
    def _open_client() -> httpx.AsyncClient:
        # Connections are not kept: one that stands was verified for another name, perhaps.
        return httpx.AsyncClient(
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            # Each attempt has one of its own, for all its steps together.
            timeout=httpx.Timeout(None),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def _find_due(self) -> list[tuple[str, str]]:
        with self._gateway.store.read_transaction(single_statement=True) as connection:
            rows = connection.execute(
                "SELECT id, owner FROM subscription WHERE due_ms <= ? ORDER BY due_ms LIMIT ?",
                (self._gateway.clock(), _MOST_DUE),
            ).fetchall()
        return [(row["id"], row["owner"]) for row in rows]

    async def _deliver(self, client: httpx.AsyncClient, identity: str) -> None:
        """Send what is due to one endpoint, one notification after the other."""
        for _ in range(_MOST_IN_A_ROW):
            attempt = await self._in_thread(self._prepare, identity)
            if attempt is None:
                return
            if isinstance(attempt, _NotYet):
                # What was closed is dropped: what comes next does not wait for it.
                continue
            try:
                outcome = await self._send(client, attempt)
            except _Superseded:
                continue
            await self._in_thread(self._settle, attempt, outcome)
            if outcome.error is not None:
                return

    def _prepare(self, identity: str) -> _Attempt | _NotYet | None:
        """Return what to send now; None when that is nothing."""
        gateway, now = self._gateway, self._gateway.clock()
        with gateway.store.read_transaction() as connection:
            stored = find_subscription(connection, identity)
            if stored is None or not stored.is_live or (stored.due_ms or now + 1) > now:
                return None
            try:
                attempt, next_ms = self._choose(connection, stored, now)
            except AuthorityEnded as error:
                self._end(stored, error.issues[0].code or "revoked")
                return None
            except Unavailable:
                self._postpone(identity, now + _POSTPONED_MS)
                return None
        if attempt is None:
            with gateway.store.write_transaction() as connection:
                self._rest(connection, stored, next_ms)
            if next_ms is not None and next_ms <= now:
                return _NotYet()
        return attempt

    def _end(self, stored: StoredSubscription, error: str) -> None:
        with self._gateway.store.write_transaction() as connection:
            current = find_subscription(connection, stored.id)
            if current is not None and current.version == stored.version:
                end_subscription(connection, stored.id, error)

    def _postpone(self, identity: str, next_ms: int) -> None:
        with self._gateway.store.write_transaction() as connection:
            connection.execute(
                "UPDATE subscription SET due_ms = ? WHERE id = ? AND due_ms IS NOT NULL",
                (next_ms, identity),
            )

    def _choose(
        self, connection: Connection, stored: StoredSubscription, now: int
    ) -> tuple[_Attempt | None, int | None]:
        """Return what to send now, or nothing and when there may be something."""
        try:
            wish = parse_stored(stored.resource, self._services.topics, self._services.policy)
        except EhrError as error:
            raise AuthorityEnded("It is not served any more.", issue_code="topic") from error
        access = access_of(self._gateway, connection, stored, now)
        if stored.sent_ms is None:
            return self._build(stored, wish, "handshake", Judged(), now), None
        judged = judge_waiting(connection, access, stored, wish.most_events)
        if judged.told:
            return self._build(stored, wish, "event-notification", judged, now), None
        if judged.dropped or judged.settled > stored.acknowledged:
            return None, now
        if wish.heartbeat is not None:
            next_ms = stored.sent_ms + wish.heartbeat * 1000
            if next_ms <= now:
                return self._build(stored, wish, "heartbeat", Judged(), now), None
            return None, next_ms
        return None, None

    def _build(
        self,
        stored: StoredSubscription,
        wish: Wish,
        kind: NotificationType,
        judged: Judged,
        now: int,
    ) -> _Attempt:
        shown = stored if kind == "handshake" else replace(stored, state="active", error=None)
        body = build_notification(
            shown,
            kind,
            self._gateway.settings.fhir_base,
            now,
            events=judged.told,
            content=wish.content,
            last_number=max([stored.last_number, *(event.number for event in judged.told)]),
        )
        numbers = [event.number for event in judged.told]
        part = f"{numbers[0]}-{numbers[-1]}" if numbers else f"{kind}-{now}"
        return _Attempt(stored, wish, kind, judged, body, f"{stored.id}.{part}")

    async def _send(self, client: httpx.AsyncClient, attempt: _Attempt) -> _Outcome:
        wish, committed = attempt.wish, False

        async def commit_before_headers(event: str, _: Any) -> None:
            nonlocal committed
            if event == _SENDING and not committed:
                committed = True
                await self._in_thread(self._commit, attempt)

        assert wish.endpoint is not None  # noqa: S101 - a rest-hook has one
        try:
            async with asyncio.timeout(wish.timeout):
                address = await resolve_endpoint(wish.endpoint, self._services.policy)
                async with client.stream(
                    "POST",
                    _pin(wish.endpoint, address),
                    headers=self._headers(attempt),
                    content=attempt.body,
                    extensions={
                        "sni_hostname": urlsplit(wish.endpoint).hostname,
                        "trace": commit_before_headers,
                    },
                ) as response:
                    return _judge_response(response)
        except (TimeoutError, OSError, httpx.HTTPError, EndpointRefused, UnicodeError):
            return _Outcome("no-response")

    def _headers(self, attempt: _Attempt) -> list[tuple[str, str]]:
        stored, secrets = attempt.stored, self._services.secrets
        signature = secrets.signature_headers(
            stored.id, attempt.message, attempt.body, self._gateway.clock()
        )
        return [
            *secrets.unseal_headers(stored.sealed_headers),
            ("host", urlsplit(str(attempt.wish.endpoint)).netloc),
            ("content-type", attempt.wish.payload_type),
            ("connection", "close"),
            ("user-agent", "eHR-Commons"),
            *signature.items(),
        ]

    def _commit(self, attempt: _Attempt) -> None:
        """Number and record what is about to be sent; raise _Superseded if it may not be."""
        gateway, now = self._gateway, self._gateway.clock()
        with gateway.store.write_transaction() as connection:
            stored = find_subscription(connection, attempt.stored.id)
            if stored != attempt.stored or not self._matcher.is_leader(connection, now):
                raise _Superseded
            try:
                access = access_of(gateway, connection, stored, now)
            except (AuthorityEnded, Unavailable) as error:
                raise _Superseded from error
            told = attempt.judged.told
            if not told:
                return
            judged = judge_waiting(connection, access, stored, len(told))
            if judged.told != told:
                raise _Superseded
            commit_told(connection, stored, judged, begin_audit(stored, access))

    def _settle(self, attempt: _Attempt, outcome: _Outcome) -> None:
        """Store how an attempt ended."""
        gateway, now = self._gateway, self._gateway.clock()
        with gateway.store.write_transaction() as connection:
            stored = find_subscription(connection, attempt.stored.id)
            if stored is None or stored.version != attempt.stored.version or not stored.is_live:
                # Sent anew, or ended, meanwhile.
                return
            if outcome.error is None:
                connection.execute(
                    "UPDATE subscription SET state = 'active', error = NULL, failures = 0,"
                    " failing_ms = NULL, sent_ms = ?, acknowledged = ?, due_ms = ? WHERE id = ?",
                    (now, max(stored.acknowledged, attempt.judged.settled), now, stored.id),
                )
                return
            failing_ms = now if stored.failing_ms is None else stored.failing_ms
            if outcome.error == "gone" or now - failing_ms >= _GIVE_UP_MS:
                is_gone = outcome.error == "gone"
                end_subscription(connection, stored.id, "gone" if is_gone else "given-up")
                return
            failures = stored.failures + 1
            is_error = failures >= _FAILURES_TO_ERROR or attempt.kind == "handshake"
            connection.execute(
                "UPDATE subscription SET state = ?, error = ?, failures = ?, failing_ms = ?,"
                " due_ms = ? WHERE id = ?",
                (
                    "error" if is_error else stored.state,
                    outcome.error,
                    failures,
                    failing_ms,
                    now + max(_pause_ms(failures), outcome.retry_after * 1000),
                    stored.id,
                ),
            )

    def _rest(
        self, connection: Connection, stored: StoredSubscription, next_ms: int | None
    ) -> None:
        """Store that nothing is to be sent until some time; drop what is closed to its owner."""
        current, now = find_subscription(connection, stored.id), self._gateway.clock()
        if current != stored:
            return
        with suppress(AuthorityEnded, Unavailable):
            access = access_of(self._gateway, connection, stored, now)
            judged = judge_waiting(connection, access, stored, 1)
            if not judged.told:
                commit_told(connection, stored, judged, None)
                stored = replace(stored, acknowledged=max(stored.acknowledged, judged.settled))
        if has_waiting(connection, stored):
            next_ms = now
        connection.execute(
            "UPDATE subscription SET due_ms = ?, acknowledged = ? WHERE id = ?",
            (next_ms, stored.acknowledged, stored.id),
        )


def _pin(endpoint: str, address: str) -> str:
    """Return the endpoint's URL with an IP address in place of its host's name."""
    parts = urlsplit(endpoint)
    host = f"[{address}]" if ":" in address else address
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))


def _judge_response(response: httpx.Response) -> _Outcome:
    if 200 <= response.status_code < 300:
        return _Outcome()
    if response.status_code == _GONE:
        return _Outcome("gone")
    wait = response.headers.get("retry-after", "")
    seconds = min(int(wait), _LONGEST_PAUSE_MS // 1000) if wait.isdigit() and len(wait) < 9 else 0
    return _Outcome("error-response", seconds)


def _pause_ms(failures: int) -> int:
    """Return the pause after so many failures in a row: it doubles, with jitter of a half."""
    pause = min(_FIRST_PAUSE_MS * 2 ** min(failures - 1, 20), _LONGEST_PAUSE_MS)
    # Not for secrecy: so that endpoints that failed together are not asked together.
    return int(pause * random.uniform(0.5, 1))  # noqa: S311
