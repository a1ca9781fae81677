"""Translator of the JVM's exceptions into errors a user may see.

Spark's messages quote values of rows, so none of their text passes: only the kind of the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ehr_etl.view_faults import to_author_error
from ehr_fhir.errors import Conflict, EhrError, Fault, Unavailable

_CONFLICTS = ("DELTA_CONCURRENT", "ConcurrentAppend", "ConcurrentModification", "ConcurrentWrite")
_MISSING = ("PATH_NOT_FOUND", "DELTA_TABLE_NOT_FOUND", "DELTA_MISSING_DELTA_TABLE")


@contextmanager
def translate_java_errors(activity: str) -> Iterator[None]:
    """Translate Spark's exceptions raised inside; `activity` completes "while ..."."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise translate_java_error(error, activity) from None


def translate_java_error(error: Exception, activity: str) -> EhrError:
    """Return the error to show for an exception of Spark or of its Java bridge."""
    text = f"{_error_condition(error)} {error}"
    if any(word in text for word in _CONFLICTS):
        return Conflict(f"Another run wrote while {activity}: run again when it has ended.")
    if any(word in text for word in _MISSING):
        return Unavailable(f"A table is missing while {activity}: run `ehr lake run --once` first.")
    if fault := to_author_error(text):
        return fault
    if "OutOfMemoryError" in text:
        return Unavailable(f"Spark ran out of memory while {activity}: give the driver more.")
    if "ConnectionRefusedError" in text or "Answer from Java side is empty" in text:
        return Unavailable(f"Spark ended while {activity}: run again.")
    return Fault(
        f"Spark failed while {activity} ({_error_condition(error) or type(error).__name__})."
    )


def _error_condition(error: Exception) -> str:
    """Return Spark's own name of the error, such as DIVIDE_BY_ZERO; it holds no value."""
    if isinstance(error, PySparkException):
        return str(error.getCondition() or "")
    return ""
