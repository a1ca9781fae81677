"""The feed by way of a Kafka topic: in memory, and from a broker that the test starts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ehr_etl.change_feed import kafka_feed
from ehr_etl.change_feed.epoch import FeedEpoch
from ehr_etl.change_feed.kafka_feed import KafkaFeed, TopicAddress, publish_feed
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from ehr_fhir.errors import Conflict, Invalid
from tests.lib.kafka_broker import KafkaBroker
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, TABLES, condition, hospital, rows

ADDRESS = TopicAddress("broker", "feed")


@dataclass
class Gateway:
    """A gateway's feed over a store in memory, with an epoch."""

    store: FakeStore
    epoch: FeedEpoch = field(default_factory=lambda: FeedEpoch("store", "first"))
    # Past epochs with the last position of each that the store still has.
    past: dict[str, int] = field(default_factory=dict)

    def open_epoch(self, after: int, decisions: int, epoch: str) -> FeedEpoch:
        last = len(self.store.versions)
        if after > (self.past.get(epoch, last) if epoch else last):
            raise Conflict("The gateway's store does not have all that was read from it before.")
        return self.epoch

    def at_epoch(self, epoch: str) -> Gateway:
        return self

    def placed_pages(self, after: int, decisions: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        end = (len(self.store.versions), self.store.number)
        content = b"".join(self.store.pages(after, decisions))
        if content:
            yield content, end


@dataclass
class Memory:
    """kafka-python's three clients over lists."""

    topics: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        topics = self.topics

        class Admin:
            def __init__(self, **settings: Any) -> None: ...
            def create_topics(self, new: Any, **more: Any) -> None: ...
            def close(self) -> None: ...

        class Producer(Admin):
            def send(self, topic: str, value: bytes, headers: Any, partition: int) -> Any:
                topics[topic].append(SimpleNamespace(value=value, headers=headers))
                return SimpleNamespace(get=lambda seconds: None)

        class Consumer(Admin):
            def assign(self, partitions: Any) -> None:
                self.topic, self.place = partitions[0].topic, 0

            def seek_to_beginning(self, partition: Any) -> None:
                self.place = 0

            def seek(self, partition: Any, place: int) -> None:
                self.place = place

            def position(self, partition: Any) -> int:
                return self.place

            def beginning_offsets(self, partitions: Any) -> dict[Any, int]:
                return dict.fromkeys(partitions, 0)

            def end_offsets(self, partitions: Any) -> dict[Any, int]:
                return dict.fromkeys(partitions, len(topics[self.topic]))

            def poll(self, timeout_ms: int, max_records: int = 2) -> dict[Any, list[Any]]:
                found = [
                    SimpleNamespace(**vars(message), offset=self.place + number)
                    for number, message in enumerate(
                        topics[self.topic][self.place : self.place + max_records]
                    )
                ]
                self.place += len(found)
                return {self.topic: found} if found else {}

        patch.setattr(kafka_feed, "KafkaAdminClient", Admin)
        patch.setattr(kafka_feed, "KafkaProducer", Producer)
        patch.setattr(kafka_feed, "KafkaConsumer", Consumer)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    made = Memory()
    made.install(monkeypatch)
    return made


def publish(gateway: Gateway, address: TopicAddress = ADDRESS) -> int:
    feed: Any = gateway
    return publish_feed(feed, address)


def run(lake: Lake, feed: Any) -> int:
    with LakeWriter(lake, KEY) as writer:
        landed = writer.take_in(feed)
        writer.bring_up(NOW_MS)
    return landed


def gateway_of_hospital() -> Gateway:
    store = FakeStore()
    for record in hospital():
        store.put(record)
    return Gateway(store)


def change(store: FakeStore) -> None:
    store.put(condition("cond-one", "p-one", "enc-one", recordedDate="2026-03-02"))
    store.add_label(("Condition", "cond-two"), "HIV")


def check_by_topic(address: TopicAddress, folder: Path) -> None:
    """A lake that reads the topic has the tables of one that asks the gateway."""
    gateway = gateway_of_hospital()
    direct, by_topic = Lake(folder / "direct"), Lake(folder / "topic")
    assert publish(gateway, address) == 1
    first = KafkaFeed(address)
    run(by_topic, first)
    first.close()
    change(gateway.store)
    assert publish(gateway, address) == 1
    assert publish(gateway, address) == 0
    # Another process: it begins at the topic's beginning, and takes nothing twice.
    feed = KafkaFeed(address)
    landed = run(by_topic, feed)
    again = run(by_topic, feed)
    is_told = feed.wait_for_change(0, 0, 0.2)
    change(gateway.store)
    publish(gateway, address)
    assert (landed, again, is_told) == (2, 0, False)
    assert feed.wait_for_change(0, 0, 60)
    run(by_topic, feed)
    feed.close()
    run(direct, gateway.store)

    for table in TABLES:
        if table != "bronze":
            assert rows(by_topic, table) == rows(direct, table), table


def test_a_lake_that_reads_a_topic_has_the_same_tables(memory: Memory, tmp_path: Path) -> None:
    check_by_topic(ADDRESS, tmp_path)


@pytest.mark.slow
def test_a_lake_that_reads_a_brokers_topic_has_the_same_tables(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    check_by_topic(TopicAddress(kafka_broker.address, "feed"), tmp_path)


def test_a_page_that_is_in_the_topic_twice_counts_once(memory: Memory, tmp_path: Path) -> None:
    gateway = gateway_of_hospital()
    publish(gateway)
    change(gateway.store)
    publish(gateway)
    # As a publisher does that was killed between the broker's answer and its own note.
    memory.topics["feed"].insert(1, memory.topics["feed"][0])
    lake = Lake(tmp_path)

    # The third line of the first page is told anew by the second.
    assert run(lake, KafkaFeed(ADDRESS)) == len(hospital()) + 2 + 2
    assert run(lake, KafkaFeed(ADDRESS)) == 0


def test_a_restored_store_goes_on_in_the_topic_only_if_it_has_all_of_it(
    memory: Memory, tmp_path: Path
) -> None:
    gateway = gateway_of_hospital()
    publish(gateway)
    lake = Lake(tmp_path)
    run(lake, KafkaFeed(ADDRESS))
    last = len(gateway.store.versions)
    restored = replace(gateway, epoch=FeedEpoch("store", "second"), past={"first": last})

    change(restored.store)
    publish(restored)
    assert run(lake, KafkaFeed(ADDRESS)) == 2

    older = replace(restored, epoch=FeedEpoch("store", "third"), past={"second": last})
    with pytest.raises(Conflict):
        publish(older)
    with pytest.raises(Conflict):
        publish(replace(gateway, epoch=FeedEpoch("another", "fourth")))


def test_a_topic_that_lost_what_the_lake_needs_is_refused(memory: Memory, tmp_path: Path) -> None:
    gateway = gateway_of_hospital()
    publish(gateway)
    change(gateway.store)
    publish(gateway)
    # What Kafka does when the time of retention is over.
    del memory.topics["feed"][0]

    with pytest.raises(Conflict, match="no longer has"):
        run(Lake(tmp_path), KafkaFeed(ADDRESS))


def test_a_page_is_fetched_when_it_is_its_turn(memory: Memory) -> None:
    gateway = gateway_of_hospital()
    for _ in range(3):
        change(gateway.store)
        publish(gateway)
    feed = KafkaFeed(ADDRESS)
    feed.open_epoch(0, 0, "")
    for message in memory.topics["feed"]:
        message.value = b"late"

    assert list(feed.pages(0, 0)) == [b"late"] * 3


@pytest.mark.parametrize(
    "url", ["kafka://", "kafka://broker", "http://broker/feed", "kafka://b/a/b"]
)
def test_an_address_that_is_no_topic_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        TopicAddress.parse(url)
