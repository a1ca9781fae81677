"""Whose records a party reached: whom the report of a breach lists, and its notices are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehr_gateway.audit_log.reached_patients import ReachedPatient, find_reached_patients
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.operations._suspensions import resolve_subject

__all__ = ["Breach", "find_breach"]


@dataclass(frozen=True)
class Breach:
    """The party, by the id that the audit log knows, and the patients whose records it reached."""

    subject: str
    reached: Sequence[ReachedPatient]


def find_breach(
    context: RequestContext, kind: str, named: str, since_ms: int, until_ms: int
) -> Breach:
    """Find whose records a party reached in a period, up to the newest row of the audit log."""
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        # Of an account or a client that is no more, the log still tells.
        subject = resolve_subject(connection, kind, named) or named
        return Breach(subject, find_reached_patients(connection, kind, subject, since_ms, until_ms))
