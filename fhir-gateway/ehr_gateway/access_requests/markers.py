"""What a requester learns of what is withheld: the marker of docs/explanation/consent.md.

An operation of its own, so that every other answer is the same with and without marker. It names
the domains in which a step-up would open something, and that something is hidden; of what is
sealed, not shared or not joined it says no more than that there is no sharing consent, which is
what it says of a patient who is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_privacy.consent import Predicate, compile_closable, compile_predicate
from ehr_privacy.consent.model import Requester, split_bars

__all__ = ["Marker", "find_marker", "is_shared_with"]

_OF_PATIENT = (
    "FROM record_patient marked JOIN resource r ON r.pk = marked.pk WHERE marked.patient = :marked"
    " AND r.current = 1 AND r.deleted = 0"
)
_HIDDEN, _STEP_UP = frozenset({"hidden"}), frozenset({"step-up"})


@dataclass(frozen=True)
class Marker:
    """Whether the record is shared, which domains are restricted, whether anything is hidden."""

    shared: bool = False
    domains: tuple[str, ...] = ()
    hidden: bool = False


def find_marker(connection: Connection, access: Access, patient: str) -> Marker:
    """Return the marker of a patient for a requester."""
    if not is_shared_with(connection, access.requester, patient, access.now_ms):
        return Marker()
    visible = _compile_without(access, frozenset(), "v")
    with_step_up = _compile_without(access, _STEP_UP, "s")
    with_hidden = _compile_without(access, _STEP_UP | _HIDDEN, "h")
    closable = compile_closable(access.requester, prefix="c")
    # The cheap condition first: of most patients it leaves few records or none. What a step-up
    # opens is visible also where hidden rules are lifted, so that one walk tells both.
    rows = connection.execute(
        f"SELECT DISTINCT r.domain, r.inner_domains, ({with_step_up.sql}) AS by_step_up"
        f" {_OF_PATIENT} AND ({closable.sql}) AND NOT ({visible.sql}) AND ({with_hidden.sql})",
        {
            "marked": patient,
            **closable.params,
            **visible.params,
            **with_step_up.params,
            **with_hidden.params,
        },
    ).fetchall()
    # A record of several domains is opened by a grant for all of them alone.
    domains = {
        name for own, inner, by_step_up in rows if by_step_up for name in (own, *split_bars(inner))
    }
    return Marker(True, tuple(sorted(domains)), not all(by_step_up for _, _, by_step_up in rows))


def is_shared_with(connection: Connection, requester: Requester, patient: str, now_ms: int) -> bool:
    """Say whether lines 6 and 7 of the consent table open the record to the organisation."""
    in_force = "since <= :now AND (until IS NULL OR :now < until)"
    values = {
        "patient": patient,
        "organization": requester.organization,
        "person": requester.person,
        "now": now_ms,
        "emergencies": 0 if requester.emergency_suspended else 1,
    }
    row = connection.execute(
        "SELECT (EXISTS (SELECT 1 FROM consent_joining WHERE patient = :patient"  # noqa: S608
        f" AND {in_force}) AND (EXISTS (SELECT 1 FROM consent_sharing WHERE patient = :patient"
        f" AND organization IN (:organization, '*') AND {in_force})"
        " OR EXISTS (SELECT 1 FROM consent_deemed WHERE organization = :organization"
        f" AND {in_force})))"
        " OR (:emergencies = 1 AND EXISTS (SELECT 1 FROM consent_emergency WHERE patient = :patient"
        f" AND person = :person AND organization = :organization AND {in_force}))",
        values,
    ).fetchone()
    return bool(row[0])


def _compile_without(access: Access, lifted: frozenset[str], prefix: str) -> Predicate:
    return compile_predicate(
        access.requester, "search", access.now_ms, prefix=prefix, lifted=lifted
    )
