"""The one Spark session of a test run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Start Spark once; the tests of a run share it."""
    from ehr_etl.spark.session import SparkSettings, spark_session

    session = spark_session(
        tmp_path_factory.mktemp("spark"), SparkSettings(master="local[2]", memory="2g")
    )
    yield session
    session.stop()
