"""What the commands of the lake work with, as the settings say: tables, feed, keys and tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_cli.settings import Settings
from ehr_etl.lake import Lake
from ehr_fhir.errors import NotFound, Unauthorized, Unavailable

if TYPE_CHECKING:
    import httpx
    from pyspark.sql import SparkSession

    from ehr_etl.change_feed.gateway_feed import HttpFeed
    from ehr_etl.change_feed.kafka_feed import KafkaFeed
    from ehr_etl.jobs import Runner
    from ehr_etl.pipeline import LakeWriter

__all__ = [
    "RETRY_SECONDS",
    "WAIT_SECONDS",
    "choose_runner",
    "fetch_program_token",
    "now_ms",
    "open_feed",
    "open_gateway",
    "open_http_feed",
    "open_lake",
    "open_writer",
    "read_deid_key",
    "read_erasure_key",
    "send_lineage",
    "start_spark",
]

# How long the gateway may hold back an answer without changes; it takes up to 60. Chosen.
WAIT_SECONDS = 25.0
# How long to wait for a gateway that does not answer. Chosen.
RETRY_SECONDS = 5


def open_lake(settings: Settings) -> Lake:
    """Return the lake of a data folder; its tables may be in an object store."""
    # delta-rs reads the store's own variables, such as AWS_ACCESS_KEY_ID, by itself.
    return Lake(settings.lake, settings.lake_tables)


def open_writer(settings: Settings) -> LakeWriter:
    """Return the lake's one writer, not opened yet."""
    from ehr_etl.pipeline import LakeWriter

    return LakeWriter(
        open_lake(settings),
        read_deid_key(settings.data),
        choose_runner(settings),
        read_erasure_key=lambda: read_erasure_key(settings.data),
    )


def choose_runner(settings: Settings) -> Runner:
    """Return what rebuilds tables: this machine's processors, or a Spark cluster if one is set."""
    from ehr_etl.jobs import LocalRunner

    if settings.spark_master.partition("[")[0] == "local":
        return LocalRunner()
    from ehr_etl.spark.cluster import SparkRunner

    return SparkRunner(lambda: start_spark(settings))


def start_spark(settings: Settings) -> SparkSession:
    """Start the one Spark session."""
    from ehr_etl.spark.session import SparkSettings, spark_session

    chosen = SparkSettings(settings.spark_master, settings.spark_memory)
    return spark_session(settings.data / "spark", chosen)


@contextmanager
def open_feed(settings: Settings, base_url: str) -> Iterator[HttpFeed | KafkaFeed]:
    """Open the feed of the gateway, or the Kafka topic that is set."""
    if settings.lake_feed:
        from ehr_etl.change_feed.kafka_feed import KafkaFeed, TopicAddress

        with closing(KafkaFeed(TopicAddress.parse(settings.lake_feed))) as feed:
            yield feed
        return
    with open_http_feed(settings, base_url) as http_feed:
        yield http_feed


@contextmanager
def open_http_feed(settings: Settings, base_url: str) -> Iterator[HttpFeed]:
    """Open the feed of the gateway with a new token."""
    from ehr_etl.change_feed.gateway_feed import HttpFeed

    with open_gateway(settings, base_url) as (client, token):
        yield HttpFeed(client, token)


@contextmanager
def open_gateway(settings: Settings, base_url: str) -> Iterator[tuple[httpx.Client, str]]:
    """Open a client of the gateway, with a new token of the lake's."""
    # Slow to import, and commands over tables alone do without.
    import httpx

    with httpx.Client(base_url=base_url, timeout=120) as client:
        yield client, fetch_program_token(client, settings.data, "lake")


def send_lineage(client: httpx.Client, token: str, writer: LakeWriter) -> int:
    """Put the refreshes of the lake on record at the gateway; return how many records."""
    from ehr_etl.data_quality.gateway_client import post_to_gateway

    def send(records: Sequence[str]) -> None:
        body = {
            "resourceType": "Parameters",
            "parameter": [{"name": "record", "valueString": record} for record in records],
        }
        post_to_gateway(client, token, "/fhir/$record-lineage", body)

    return writer.send_refreshes(send)


def now_ms() -> int:
    """Return the time of the clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def read_deid_key(data: Path) -> bytes:
    """Return the HMAC key of the pseudonyms; whoever has it can link them to patients."""
    path = data / "keys" / "deid.key"
    if not path.exists():
        raise NotFound(f"{path} is missing: start `ehr up` once on this data folder.")
    return path.read_bytes()


def read_erasure_key(data: Path) -> bytes | None:
    """Return the key by which the feed names erased patients; None before the first erasure."""
    path = data / "keys" / "erasure.key"
    return path.read_bytes() if path.exists() else None


def fetch_program_token(client: httpx.Client, data: Path, program: str) -> str:
    """Return a token of one of the platform's programs (OAuth 2 client credentials grant)."""
    # Slow to import, and commands over tables alone do without.
    import httpx

    # The data folder knows the whole gateway, which takes a second to import; views do without.
    from ehr_cli.data_folder import read_program_secret

    try:
        answer = client.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(program, read_program_secret(data, program)),
        )
    except httpx.TransportError as error:
        raise Unavailable("The gateway does not answer: is `ehr up` running?") from error
    except FileNotFoundError as error:
        raise NotFound(
            f"The data folder {data} holds no secret for {program}: start `ehr up` on it once."
        ) from error
    if answer.status_code != 200:
        raise Unauthorized(f"The gateway refused the secret of {program}.")
    return str(answer.json()["access_token"])
