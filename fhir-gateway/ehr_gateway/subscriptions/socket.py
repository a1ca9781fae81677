"""Notifications by WebSocket: a client binds to its subscriptions and is told while it listens.

There is no log-in on the connection itself: the first message is `bind-with-token` and a token of
`$get-ws-binding-token`. What is told is judged and on record before it is sent, as by rest-hook;
it counts as delivered when it is sent. What a client missed it asks for by `$events`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ehr_fhir.errors import EhrError, Unavailable
from ehr_gateway.database import DATABASE_ERRORS, encode_texts, in_list
from ehr_gateway.gateway import Gateway
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.subscriptions.authority import AuthorityEnded, access_of, begin_audit
from ehr_gateway.subscriptions.bindings import Binding, is_issued, redeem_binding
from ehr_gateway.subscriptions.content import Wish, parse_stored
from ehr_gateway.subscriptions.events import (
    commit_told,
    has_waiting,
    judge_waiting,
)
from ehr_gateway.subscriptions.notification import NotificationType, build_notification
from ehr_gateway.subscriptions.rows import (
    LIVE_STATES,
    StoredSubscription,
    end_subscription,
    find_subscription,
)
from ehr_gateway.subscriptions.services import SubscriptionServices

__all__ = ["SOCKET_PATH", "SubscriptionSockets", "socket_address"]

_LOG = logging.getLogger(__name__)
SOCKET_PATH = "/fhir/$subscription-events"
_BIND = "bind-with-token"
# Chosen: a client binds at once; a message is a token; one that does not read is let go.
_BIND_SECONDS, _SEND_SECONDS, _MESSAGE_LENGTH = 10.0, 30.0, 200
# Between two looks for what is to be told. Chosen: one look reads an index entry for each binding.
_LOOK_SECONDS = 0.25
# How soon the end of a permission ends a binding to which nothing is told. Chosen.
_PERMISSION_MS = 5_000
# Of one address that have not shown a token yet, so that no stranger keeps clients out. Chosen.
_MOST_UNBOUND = 20
_MOST_SOCKETS, _MOST_BINDINGS = 500, 200
_REFUSED, _TOO_MANY, _ENDED = 1008, 1013, 1000


def socket_address(settings: GatewaySettings) -> str:
    """Return the address at which clients connect."""
    return f"ws{settings.base_url.removeprefix('http')}{SOCKET_PATH}"


@dataclass
class _Bound:
    """One subscription on one connection."""

    id: str
    # The newest event number that was sent here.
    number: int
    # When something was last sent here.
    sent_ms: int
    # When it is looked at again though nothing is new: for a heartbeat, and for its permission.
    due_ms: int = 0


@dataclass(frozen=True)
class _Newest:
    """The newest number of a live subscription, and whether events wait for one."""

    number: int
    is_waiting: bool


@dataclass(frozen=True)
class _Message:
    """A notification to send, and where the binding is after it."""

    body: bytes
    number: int


class SubscriptionSockets:
    """ASGI application of the WebSockets of one process."""

    def __init__(self, gateway: Gateway, services: SubscriptionServices) -> None:
        self._gateway = gateway
        self._services = services
        # Connections, and by the client's address those that are not bound yet.
        self._count = 0
        self._unbound: Counter[str] = Counter()
        # By subscription: on how many connections it is bound.
        self._bound: Counter[str] = Counter()
        self._look_lock = asyncio.Lock()
        self._looked_at = 0.0
        self._newest: Mapping[str, _Newest] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        socket = WebSocket(scope, receive, send)
        address = socket.client.host if socket.client else ""
        is_full = self._count >= _MOST_SOCKETS or self._unbound[address] >= _MOST_UNBOUND
        if scope["path"] != SOCKET_PATH or is_full:
            await socket.close(_TOO_MANY)
            return
        self._count += 1
        try:
            await socket.accept()
            await self._serve(socket, address)
        except (WebSocketDisconnect, TimeoutError):
            pass
        except Exception as error:
            _LOG.warning("A WebSocket failed with %s.", type(error).__name__)
        finally:
            self._count -= 1
            if socket.application_state is WebSocketState.CONNECTED:
                with suppress(RuntimeError, WebSocketDisconnect):
                    await socket.close(_ENDED)

    async def _serve(self, socket: WebSocket, address: str) -> None:
        """Take bindings and tell events, side by side, until either ends."""
        bound: dict[str, _Bound] = {}
        self._unbound[address] += 1
        try:
            async with asyncio.timeout(_BIND_SECONDS):
                if not await self._bind(socket, bound):
                    await socket.close(_REFUSED)
                    return
        finally:
            self._unbound[address] -= 1
            if not self._unbound[address]:
                del self._unbound[address]
        listening = asyncio.create_task(self._listen(socket, bound))
        telling = asyncio.create_task(self._tell(socket, bound))
        try:
            done, _ = await asyncio.wait({listening, telling}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._bound.subtract(list(bound))
            for task in (listening, telling):
                task.cancel()
            await asyncio.gather(listening, telling, return_exceptions=True)

    async def _listen(self, socket: WebSocket, bound: dict[str, _Bound]) -> None:
        while await self._bind(socket, bound):
            pass
        await socket.close(_REFUSED)

    async def _bind(self, socket: WebSocket, bound: dict[str, _Bound]) -> bool:
        """Read one message and bind; False for one that binds to nothing."""
        text = await socket.receive_text()
        word, _, token = text[:_MESSAGE_LENGTH].strip().partition(" ")
        if word != _BIND or not token or len(bound) >= _MOST_BINDINGS:
            return False
        binding = await asyncio.to_thread(self._redeem, token.strip())
        if binding is None:
            return False
        for identity in binding.subscriptions:
            handshake = await asyncio.to_thread(self._shake_hands, binding, identity)
            if handshake is not None:
                await self._send(socket, handshake.body)
                if identity not in bound:
                    self._bound[identity] += 1
                bound[identity] = _Bound(identity, handshake.number, self._gateway.clock())
        return bool(bound)

    async def _tell(self, socket: WebSocket, bound: dict[str, _Bound]) -> None:
        while bound:
            await asyncio.sleep(_LOOK_SECONDS)
            newest, now = await self._look(), self._gateway.clock()
            for one in list(bound.values()):
                state = newest.get(one.id)
                is_new = state is None or state.is_waiting or state.number > one.number
                if not is_new and now < one.due_ms:
                    continue
                message = await asyncio.to_thread(self._next, one)
                if message is None:
                    self._bound[one.id] -= 1
                    del bound[one.id]
                elif message.body:
                    await self._send(socket, message.body)
                    one.number, one.sent_ms = message.number, self._gateway.clock()

    async def _look(self) -> Mapping[str, _Newest]:
        """Return which of all bound subscriptions have something new: one query for a process."""
        async with self._look_lock:
            now = asyncio.get_running_loop().time()
            if now - self._looked_at >= _LOOK_SECONDS:
                self._newest = await asyncio.to_thread(self._find_newest, list(+self._bound))
                self._looked_at = now
        return self._newest

    def _find_newest(self, names: Sequence[str]) -> Mapping[str, _Newest]:
        """Return what there is of each subscription that is live."""
        store = self._gateway.store
        states = ", ".join(f"'{state}'" for state in LIVE_STATES)
        with store.read_transaction(single_statement=True) as connection:
            rows = connection.execute(
                "SELECT s.id, s.last_number, EXISTS (SELECT 1 FROM subscription_event e"  # noqa: S608
                " WHERE e.subscription = s.id AND e.number IS NULL) AS waits FROM subscription s"
                f" WHERE s.id {in_list(store.dialect, 'ids')} AND s.state IN ({states})",
                {"ids": encode_texts(store.dialect, names)},
            ).fetchall()
        return {
            row["id"]: _Newest(row["last_number"], is_waiting=bool(row["waits"])) for row in rows
        }

    @staticmethod
    async def _send(socket: WebSocket, body: bytes) -> None:
        async with asyncio.timeout(_SEND_SECONDS):
            await socket.send_text(body.decode())

    def _redeem(self, token: str) -> Binding | None:
        store = self._gateway.store
        with store.read_transaction(single_statement=True) as connection:
            # Whoever guesses does not get at the writer.
            if not is_issued(connection, token):
                return None
        with store.write_transaction() as connection:
            return redeem_binding(connection, token, self._gateway.clock())

    def _shake_hands(self, binding: Binding, identity: str) -> _Message | None:
        gateway = self._gateway
        with gateway.store.read_transaction() as connection:
            stored = find_subscription(connection, identity)
            if stored is None or stored.owner != binding.owner or not stored.is_live:
                return None
            try:
                # Who was suspended since the token was issued is told of no number.
                access_of(gateway, connection, stored, gateway.clock())
            except (AuthorityEnded, Unavailable):
                return None
        return self._message(stored, "handshake", stored.acknowledged)

    def _next(self, bound: _Bound) -> _Message | None:
        """Return what is to be told now, without a body when that is nothing; None at the end."""
        now = self._gateway.clock()
        try:
            with self._gateway.store.read_transaction() as connection:
                stored = find_subscription(connection, bound.id)
                if stored is None or not stored.is_live:
                    return None
                is_waiting = has_waiting(connection, stored) or stored.last_number > bound.number
                # Also where nothing is told, the end of the permission ends the binding.
                access_of(self._gateway, connection, stored, now)
            wish = self._parse(stored)
            if is_waiting and (message := self._tell_events(stored.id, bound, wish)):
                return message
            bound.due_ms = now + _PERMISSION_MS
            if wish.heartbeat is not None:
                next_ms = bound.sent_ms + wish.heartbeat * 1000
                bound.due_ms = min(bound.due_ms, max(next_ms, now))
            if wish.heartbeat is not None and next_ms <= now:
                return self._message(stored, "heartbeat", bound.number)
        except AuthorityEnded as error:
            with self._gateway.store.write_transaction() as connection:
                end_subscription(connection, bound.id, error.issues[0].code or "revoked")
            return None
        except (Unavailable, *DATABASE_ERRORS):
            pass
        return _Message(b"", bound.number)

    def _tell_events(self, identity: str, bound: _Bound, wish: Wish) -> _Message | None:
        """Number, record and return what waits, and what was told elsewhere since."""
        gateway, now = self._gateway, self._gateway.clock()
        with gateway.store.write_transaction() as connection:
            stored = find_subscription(connection, identity)
            if stored is None or not stored.is_live:
                return None
            access = access_of(gateway, connection, stored, now)
            # What another connection, or `$status`, made known is new here.
            known = replace(stored, acknowledged=bound.number)
            judged = judge_waiting(connection, access, known, wish.most_events)
            commit_told(connection, known, judged, begin_audit(stored, access))
            connection.execute(
                "UPDATE subscription SET acknowledged = ?, sent_ms = ? WHERE id = ?",
                (max(stored.acknowledged, judged.settled), now, identity),
            )
        if not judged.told:
            bound.number = max(bound.number, judged.settled)
            return None
        last = max([stored.last_number, *(event.number for event in judged.told)])
        body = build_notification(
            stored, "event-notification", gateway.settings.fhir_base, now,
            events=judged.told, content=wish.content, last_number=last,
        )  # fmt: skip
        return _Message(body, judged.settled)

    def _message(self, stored: StoredSubscription, kind: NotificationType, number: int) -> _Message:
        settings, now = self._gateway.settings, self._gateway.clock()
        content = self._parse(stored).content
        return _Message(
            build_notification(stored, kind, settings.fhir_base, now, content=content), number
        )

    def _parse(self, stored: StoredSubscription) -> Wish:
        try:
            return parse_stored(stored.resource, self._services.topics, self._services.policy)
        except EhrError as error:
            raise AuthorityEnded("It is not served any more.", issue_code="topic") from error
