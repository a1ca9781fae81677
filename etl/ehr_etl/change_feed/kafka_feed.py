"""The change feed by way of a Kafka topic: a publisher writes the gateway's pages, the lake reads.

A message is a page of the feed, as the gateway sent it, with its place in the headers: store,
epoch, and the position and number of a decision before and after it. The topic has one partition,
so messages are in the feed's order. A page may be there twice, after a crash of the publisher: the
lake takes lines by position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from ehr_etl.change_feed.epoch import FeedEpoch
from ehr_etl.change_feed.gateway_feed import HttpFeed
from ehr_fhir.errors import Conflict, Invalid, Unavailable

__all__ = ["KafkaFeed", "TopicAddress", "publish_feed"]

# Largest message: a page of the gateway is 16 MB at most, or one record of 32 MB. Chosen with room.
_MESSAGE_BYTES = 64 * 1024 * 1024
# How long a poll waits for the broker when something must be there. Chosen.
_ANSWER_MS = 10_000
_PLACE = ("after", "decisions", "next", "next-decisions")


@dataclass(frozen=True)
class TopicAddress:
    """A broker and a topic of it."""

    broker: str
    topic: str

    @classmethod
    def parse(cls, url: str) -> TopicAddress:
        """Read an address.

        >>> TopicAddress.parse("kafka://127.0.0.1:9092/ehr-feed")
        TopicAddress(broker='127.0.0.1:9092', topic='ehr-feed')
        """
        parts = urlsplit(url)
        topic = parts.path.strip("/")
        if parts.scheme != "kafka" or not parts.netloc or not topic or "/" in topic:
            raise Invalid(f"{url!r} is no Kafka topic: write kafka://HOST:PORT/TOPIC.")
        return cls(parts.netloc, topic)

    @property
    def partition(self) -> TopicPartition:
        """Return the one partition of the topic."""
        return TopicPartition(self.topic, 0)


@dataclass(frozen=True)
class _PagePlace:
    """The place of a page in the feed: after which position and decision it begins and ends."""

    epoch: FeedEpoch
    after: int
    decisions: int
    next: int
    next_decisions: int

    @classmethod
    def from_message(cls, message: Any) -> _PagePlace:  # Any: kafka-python is not typed
        headers = {name: value.decode() for name, value in message.headers}
        try:
            after, decisions, position, number = (int(headers[name]) for name in _PLACE)
            epoch = FeedEpoch(headers["store"], headers["epoch"])
        except (KeyError, ValueError) as error:
            raise Conflict("The topic has messages that are no pages of a feed.") from error
        return cls(epoch, after, decisions, position, number)

    def headers(self) -> list[tuple[str, bytes]]:
        place = (self.after, self.decisions, self.next, self.next_decisions)
        named = {"store": self.epoch.store, "epoch": self.epoch.epoch,
                 **dict(zip(_PLACE, map(str, place), strict=True))}  # fmt: skip
        return [(name, value.encode()) for name, value in named.items()]


@dataclass
class KafkaFeed:
    """The pages of a topic, as a source of changes for one lake."""

    address: TopicAddress
    # Offsets and places of pages in the topic that were not yet handed on. Their content is fetched
    # one by one: a topic may hold more than memory does.
    _waiting: deque[tuple[int, _PagePlace]] = field(default_factory=deque)
    # One reads places up to the topic's end, the other the content of pages.
    _places: Any = None  # kafka-python is not typed
    _contents: Any = None
    # The place of the last page that is in the topic.
    _last: _PagePlace | None = None

    def open_epoch(self, after: int, decisions: int, epoch: str) -> FeedEpoch | None:
        """Return the epoch of the topic's end; Conflict when a place is not of the topic's past.

        The publisher has seen to it that the topic's own epochs follow each other.
        """
        self._read_places(_ANSWER_MS)
        if self._last is None:
            return None
        epochs = {page.epoch.epoch for _, page in self._waiting}
        if epoch and self._waiting and epoch not in epochs:
            raise Conflict("The topic has none of the feed's epoch that the lake was filled from.")
        beyond = (page for _, page in self._waiting if _is_beyond(page, after, decisions))
        first = next(beyond, None)
        if first is not None and (first.after > after or first.decisions > decisions):
            raise Conflict("The topic no longer has what follows in the feed.")
        return self._last.epoch

    def at_epoch(self, epoch: str) -> KafkaFeed:
        """Return the same feed: what it holds is of one past."""
        return self

    def pages(self, after: int, decisions: int) -> Iterator[bytes]:
        """Yield the pages that come after a place, until the topic has no more."""
        while True:
            while self._waiting:
                offset, page = self._waiting.popleft()
                if _is_beyond(page, after, decisions):
                    yield self._fetch_page(offset)
                    after, decisions = max(after, page.next), max(decisions, page.next_decisions)
            if not self._read_places(0):
                return

    def wait_for_change(self, after: int, decisions: int, seconds: float) -> bool:
        """Return whether something comes after a place within some seconds."""
        return bool(self._waiting) or self._read_places(int(seconds * 1000))

    def close(self) -> None:
        """End the connections."""
        for consumer in (self._places, self._contents):
            if consumer is not None:
                consumer.close()

    def _read_places(self, milliseconds: int) -> bool:
        """Read places up to the topic's end as it is now; wait for one if there is none."""
        with _translate_kafka_errors(self.address):
            partition = self.address.partition
            if self._places is None:
                self._places = _open_consumer(self.address)
                self._places.seek_to_beginning(partition)
            end = self._places.end_offsets([partition])[partition]
            has_new = False
            if self._places.position(partition) >= end and milliseconds and self._last:
                has_new = self._queue_places(self._places.poll(timeout_ms=milliseconds))
            while self._places.position(partition) < end:
                has_new = self._queue_places(self._places.poll(timeout_ms=_ANSWER_MS)) or has_new
        return has_new

    def _queue_places(self, polled: Mapping[Any, list[Any]]) -> bool:
        messages = [message for received in polled.values() for message in received]
        for message in messages:
            self._last = _PagePlace.from_message(message)
            self._waiting.append((message.offset, self._last))
        return bool(messages)

    def _fetch_page(self, offset: int) -> bytes:
        """Return the page at an offset; Conflict when the topic no longer has it."""
        with _translate_kafka_errors(self.address):
            partition = self.address.partition
            if self._contents is None:
                self._contents = _open_consumer(self.address)
                self._contents.seek(partition, offset)
            elif self._contents.position(partition) != offset:
                self._contents.seek(partition, offset)
            for messages in self._contents.poll(timeout_ms=_ANSWER_MS, max_records=1).values():
                if messages[0].offset == offset:
                    return messages[0].value or b""
                raise Conflict("The topic no longer has what follows in the feed.")
        raise Unavailable(f"The Kafka broker {self.address.broker} does not send a page.")


def publish_feed(feed: HttpFeed, address: TopicAddress, *, wait_seconds: float = 0) -> int:
    """Write what is new in the gateway's feed to a topic; return how many pages.

    Where the topic ends is read from the topic itself. Conflict when the store does not have all
    that is in the topic: a lake that reads it would keep what is no longer there.
    """
    with _translate_kafka_errors(address):
        _create_topic(address)
        last = _read_last(address)
    after, decisions = (last.next, last.next_decisions) if last else (0, 0)
    if wait_seconds:
        feed.wait_for_change(after, decisions, wait_seconds)
    present = feed.open_epoch(after, decisions, last.epoch.epoch if last else "")
    if present is None:
        raise Conflict("The gateway names no epoch of its feed: it is too old for a topic.")
    if last is not None and present.store != last.epoch.store:
        raise Conflict("The topic was filled from another store: begin another one.")
    written = 0
    with _translate_kafka_errors(address):
        producer = KafkaProducer(
            bootstrap_servers=address.broker,
            acks="all",
            compression_type="gzip",
            max_request_size=_MESSAGE_BYTES,
        )
        try:
            for content, place in feed.at_epoch(present.epoch).placed_pages(after, decisions):
                page = _PagePlace(present, after, decisions, *place)
                # One after the other, each on the broker's disk: the order is the feed's.
                producer.send(address.topic, content, headers=page.headers(), partition=0).get(
                    _ANSWER_MS / 1000
                )
                after, decisions = place
                written += 1
        finally:
            producer.close()
    return written


def _is_beyond(page: _PagePlace, after: int, decisions: int) -> bool:
    return page.next > after or page.next_decisions > decisions


def _read_last(address: TopicAddress) -> _PagePlace | None:
    consumer = _open_consumer(address)
    try:
        partition = address.partition
        begin = consumer.beginning_offsets([partition])[partition]
        end = consumer.end_offsets([partition])[partition]
        if end == begin:
            return None
        consumer.seek(partition, end - 1)
        for messages in consumer.poll(timeout_ms=_ANSWER_MS).values():
            return _PagePlace.from_message(messages[-1])
        raise Unavailable(f"The Kafka broker {address.broker} does not send the topic's end.")
    finally:
        consumer.close()


def _open_consumer(address: TopicAddress) -> Any:
    consumer = KafkaConsumer(
        bootstrap_servers=address.broker,
        enable_auto_commit=False,
        fetch_max_bytes=_MESSAGE_BYTES,
        max_partition_fetch_bytes=_MESSAGE_BYTES,
    )
    consumer.assign([address.partition])
    return consumer


def _create_topic(address: TopicAddress) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address.broker)
    try:
        configs = {"max.message.bytes": str(_MESSAGE_BYTES)}
        topic = NewTopic(address.topic, 1, 1, topic_configs=configs)
        admin.create_topics([topic], wait_for_metadata=True)
    except TopicAlreadyExistsError:
        pass
    finally:
        admin.close()


@contextmanager
def _translate_kafka_errors(address: TopicAddress) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise Unavailable(
            f"The Kafka broker {address.broker} does not answer as it should"
            f" ({type(error).__name__})."
        ) from error
