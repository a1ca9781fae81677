"""Look up the patients whom a request's criteria name, whether the requester may see them or not.

The one place that searches without the consent condition. What it finds goes into the audit log,
which the requester does not read, and into no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ehr_fhir.json_text import parse
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.search.named_targets import NamedIdentity, NamedTarget
from ehr_fhir.token_keys import folded_key
from ehr_gateway.database import Connection
from ehr_gateway.inquiry import Inquiry
from ehr_gateway.search.plan import plan_search
from ehr_gateway.search.sql import FilterCompiler
from ehr_gateway.search.values import Params
from ehr_gateway.store.search_registry import SearchRegistry
from ehr_gateway.store.store import Store
from ehr_privacy.consent.domain_rules import load_domains

__all__ = [
    "MAX_BEARERS",
    "find_named_patients",
    "find_patients_by_identifiers",
    "find_patients_by_number",
    "find_person_by_number",
]

# A name that more people bear names nobody in particular. Chosen.
MAX_BEARERS = 20
# An identifier is one person's; shared ones (a household's number) stay below this. Chosen.
_MAX_HOLDERS = 200
_SELECT_PATIENTS_OF = (
    "SELECT DISTINCT p.patient FROM resource r JOIN record_patient p ON p.pk = r.pk"
    " WHERE r.type = ? AND r.id = ? AND r.current = 1 ORDER BY p.patient"
)


def find_patients_by_number(connection: Connection, typed: str) -> list[str]:
    """Return the ids of the patients with an identity card number, however it is written."""
    identifier = JURISDICTION.person_identifier
    number = identifier.normalize(typed)
    return [
        identity for identity, _ in _read_patients(connection, number, identifier.format(number))
    ]


def find_person_by_number(connection: Connection, typed: str) -> list[str]:
    """Return the same, without the accounts that were merged into another one of them."""
    identifier = JURISDICTION.person_identifier
    number = identifier.normalize(typed)
    found = dict(_read_patients(connection, number, identifier.format(number)))
    replaced = [
        identity
        for identity, patient in found.items()
        if any(
            link.get("type") == "replaced-by"
            and str(link.get("other", {}).get("reference", "")).removeprefix("Patient/") in found
            for link in patient.get("link", ())
        )
    ]
    return [identity for identity in found if identity not in replaced]


def find_patients_by_identifiers(
    connection: Connection, identifiers: Sequence[tuple[str, str]]
) -> list[str]:
    """Return the ids of the patients who have all of some identifiers, by system and value."""
    return [
        identity
        for identity, patient in _read_patients(connection, identifiers[0][1])
        if {*identifiers}
        <= {
            (identifier.get("system"), identifier.get("value"))
            for identifier in patient.get("identifier", ())
        }
    ]


def _read_patients(connection: Connection, *values: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the current Patients that have an identifier of one of some values, by id."""
    first, last = values[0], values[-1]
    rows = connection.execute(
        "SELECT DISTINCT r.id, r.body FROM idx_token t JOIN search_parameter p"
        " ON p.param = t.param JOIN resource r ON r.pk = t.pk WHERE p.type = 'Patient'"
        " AND p.code = 'identifier' AND t.code IN (?, ?) AND r.current = 1 AND r.deleted = 0"
        " ORDER BY r.id",
        (folded_key(first), folded_key(last)),
    )
    for row in rows.fetchall():
        yield str(row["id"]), parse(row["body"])


def find_named_patients(
    connection: Connection, store: Store, inquiry: Inquiry, now_ms: int, base: str
) -> list[str]:
    """Return the ids of the patients that an inquiry names, each once.

    A Patient's id counts whether there is such a Patient or not.
    """
    patients: dict[str, None] = {}
    for target in inquiry.targets:
        patients.update(dict.fromkeys(_patients_of_target(connection, target)))
    if inquiry.identities:
        registry = store.registry(connection)
        for identity in inquiry.identities:
            found = _patients_of_identity(connection, registry, identity, now_ms, base)
            patients.update(dict.fromkeys(found))
    return list(patients)


def _patients_of_target(connection: Connection, target: NamedTarget) -> Iterable[str]:
    if target.type == "Patient":
        return [target.id]
    if target.type in load_domains().directory:
        return []
    rows = connection.execute(_SELECT_PATIENTS_OF, (target.type, target.id))
    return [row["patient"] for row in rows]


def _patients_of_identity(
    connection: Connection,
    registry: SearchRegistry,
    identity: NamedIdentity,
    now_ms: int,
    base: str,
) -> Iterable[str]:
    if identity.type in load_domains().directory:
        return []
    params = Params(now_ms, base)
    compiler = FilterCompiler(registry.ids, params, "TRUE", connection.dialect)
    limit = MAX_BEARERS if identity.by_name else _MAX_HOLDERS
    filters = [compiler.compile(identity.type, one) for one in identity.filters]
    if len(filters) == 1 and filters[0].is_exact and not identity.by_name:
        # An identifier's list is short and exact, and needs no plan.
        rows = connection.execute(
            f"SELECT DISTINCT p.patient FROM ({filters[0].candidates}) d"  # noqa: S608
            " CROSS JOIN record_patient p WHERE p.pk = d.pk LIMIT :most",
            {**params.values, "most": limit + 1},
        ).fetchall()
        return [] if len(rows) > limit else sorted(row["patient"] for row in rows)
    plan = plan_search(
        connection,
        identity.type,
        filters,
        compiler.tables,
        "TRUE",
        params.values,
        # One more tells that there are too many.
        limit=limit + 1,
        latest_position=registry.latest.position,
    )
    rows = connection.execute(
        f"{plan.with_clause()}SELECT DISTINCT p.patient FROM {plan.source}"  # noqa: S608
        f" CROSS JOIN record_patient p WHERE p.pk = r.pk AND {plan.where} LIMIT :most",
        {**plan.params, "most": limit + 1},
    ).fetchall()
    return [] if len(rows) > limit else sorted(row["patient"] for row in rows)
