"""What the session keeps from the logs."""

from __future__ import annotations

import logging.config

import pytest
from pyspark.logger import PySparkLogger

from ehr_etl.spark.session import silence_query_loggers


@pytest.mark.parametrize("name", ["SQLQueryContextLogger", "DataFrameQueryContextLogger"])
def test_a_failed_query_is_not_logged_even_after_logging_is_configured_anew(
    name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    silence_query_loggers()
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})

    PySparkLogger.getLogger(name).exception("a value of a row", errorClass="DIVIDE_BY_ZERO")

    assert caplog.records == []
    assert "a value of a row" not in "".join(capfd.readouterr())
