"""A store of any number of patients with consents as people give them, for the enforcement bench.

A hundred patients are written as the gateway writes them; the others are their rows copied inside
the database under ids of their own, in every table that has them, rule tables too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ehr_gateway.access import Access
from ehr_gateway.schema import resources
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from ehr_privacy.consent import Requester, parse_scopes

__all__ = ["AUTHOR", "BASE", "READER", "fill_patients"]

Json = dict[str, Any]
AUTHOR, READER = "hospital-a", "hospital-b"
BASE = 100
# Stands in every id of the base, as the first of the copies.
_MARK = "c0000000"
_AT_ONCE = 50
_NOT_COPIED = {"search_parameter", "setting", "load_ledger", "added_parameter"}
_SYSTEM = "https://ehr-commons.hk/fhir/CodeSystem"
_RECIPIENT = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
    ]
}


def fill_patients(store: Store, patients: int) -> int:
    """Fill an empty store; return how many versions it holds."""
    access = Access(
        Requester(
            "system", "bench", "ehr-commons", purpose="TREAT", scopes=parse_scopes("system/*.cruds")
        ),
        1_790_000_000_000,
        "bench",
    )
    with open_transaction(store, access) as writing:
        for name in (AUTHOR, READER, "hospital-c"):
            body = {"resourceType": "Organization", "id": name, "name": name}
            writing.create(prepare_draft(body, name, access))
    with store.read_transaction() as connection:
        first = connection.execute("SELECT MAX(pk) AS last FROM resource").fetchone()["last"]
    for number in range(BASE):
        with open_transaction(store, access) as writing:
            for resource in (*_consents(number), *_records(number)):
                author = AUTHOR if resource["resourceType"] != "Consent" else None
                draft = prepare_draft(resource, resource["id"], access)
                writing.create(
                    draft.__class__(draft.resource, author, draft.has_conditional_references)
                )
    _copies(store, first, range(1, patients // BASE))
    with store.write_transaction() as connection:
        if store.dialect == "postgresql":
            connection.execute(
                "SELECT setval(pg_get_serial_sequence('resource', 'pk'), MAX(pk)) FROM resource"
            )
        connection.execute("ANALYZE")
        count: int = connection.execute("SELECT COUNT(*) AS n FROM resource").fetchone()["n"]
    return count


def _id(kind: str, number: int) -> str:
    return f"{_MARK}-{kind}-{number}"


def _records(number: int) -> Iterator[Json]:
    patient = {"reference": f"Patient/{_id('p', number)}"}
    stay = _id("e", number)
    day = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}"
    yield {
        "resourceType": "Patient", "id": _id("p", number), "gender": "female",
        "identifier": [{"system": "urn:bench", "value": _id("i", number)}],
        "name": [{"family": "Chan", "given": [f"Given{number}"]}], "birthDate": "1960-02-03",
    }  # fmt: skip
    yield {
        "resourceType": "Encounter", "id": stay, "status": "finished", "subject": patient,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "period": {"start": day, "end": day},
    }  # fmt: skip
    for n in range(2):
        code = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": ("J45.909", "F32.9")[n]}
        yield {
            "resourceType": "Condition", "id": _id(f"d{n}", number), "subject": patient,
            "code": {"coding": [code]}, "encounter": {"reference": f"Encounter/{stay}"},
            "onsetDateTime": day,
        }  # fmt: skip
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    for n in range(4):
        yield {
            "resourceType": "Observation", "id": _id(f"o{n}", number), "status": "final",
            "category": [
                {"coding": [{"system": category, "code": ("laboratory", "vital-signs")[n % 2]}]}
            ],
            "code": {
                "coding": [{"system": "http://loinc.org", "code": ("718-7", "8867-4")[n % 2]}]
            },
            "subject": patient, "effectiveDateTime": day, "valueInteger": number,
            "encounter": {"reference": f"Encounter/{stay}"},
        }  # fmt: skip


def _consents(number: int) -> Iterator[Json]:
    """Of a hundred: 95 joined, 70 share with the reader, 30 closed something, 3 sealed it."""
    if number % 20 != 7:
        yield _consent("j", number, "joining", {"type": "permit"})
    shared = [name for n, name in enumerate((READER, "hospital-c")) if number % 10 < 7 - 3 * n]
    if shared:
        yield _consent("s", number, "sharing", {"type": "permit", **_actors(*shared)})
    if number % 10 in (2, 8):
        classes = [{"system": f"{_SYSTEM}/data-domain", "code": "laboratory"}]
        closed = {"type": "deny", "class": classes, **_actors(READER)}
        exception = {"type": "permit", **_actors("hospital-c")}
        yield _consent("r", number, "restriction", {**closed, "provision": [exception]})
    if number % 10 == 5:
        label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}
        yield _consent("l", number, "restriction", {"type": "deny", "securityLabel": [label]})
    if number % 33 == 1:
        sealed = {
            "url": "https://ehr-commons.hk/fhir/StructureDefinition/sealed", "valueBoolean": True
        }  # fmt: skip
        data = [{"meaning": "instance",
                 "reference": {"reference": f"Condition/{_id('d1', number)}"}}]  # fmt: skip
        yield _consent(
            "z", number, "restriction", {"type": "deny", "extension": [sealed], "data": data}
        )


def _actors(*organizations: str) -> Json:
    return {
        "actor": [
            {"role": _RECIPIENT, "reference": {"reference": f"Organization/{name}"}}
            for name in organizations
        ]
    }


def _consent(kind: str, number: int, category: str, provision: Json) -> Json:
    scope = {"system": "http://terminology.hl7.org/CodeSystem/consentscope"}
    provision = {**provision, "period": {"start": "2026-01-01"}}
    return {
        "resourceType": "Consent", "id": _id(kind, number), "status": "active",
        "scope": {"coding": [{**scope, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": f"{_SYSTEM}/consent-category", "code": category}]}],
        "patient": {"reference": f"Patient/{_id('p', number)}"},
        "policyRule": {"text": "bench"}, "provision": provision,
    }  # fmt: skip


def _copies(store: Store, first: int, numbers: range) -> None:
    with store.read_transaction() as connection:
        row = connection.execute("SELECT MAX(pk) AS last FROM resource").fetchone()
    size = row["last"] - first
    for start in range(numbers.start, numbers.stop, _AT_ONCE):
        some = range(start, min(start + _AT_ONCE, numbers.stop))
        with store.write_transaction() as connection:
            connection.execute("CREATE TABLE copy (n BIGINT, mark VARCHAR)")
            connection.executemany(
                "INSERT INTO copy VALUES (?, ?)", [(n, f"c{n:07x}") for n in some]
            )
            for table in resources.METADATA.sorted_tables:
                if table.name not in _NOT_COPIED:
                    connection.execute(_copy(store, table, first, size))
            connection.execute("DROP TABLE copy")


def _copy(store: Store, table: Any, first: int, size: int) -> str:
    names = [column.name for column in table.columns]
    values = []
    for name in names:
        kind = str(table.c[name].type)
        if name == "pk":
            values.append(f"base.pk + copy.n * {size}")
        elif name == "body":
            values.append(_BODY[store.dialect])
        elif kind in ("VARCHAR", "TEXT"):
            values.append(f"replace(base.{name}, '{_MARK}', copy.mark)")
        else:
            values.append(f"base.{name}")
    if "pk" in names:
        where = f"base.pk > {first} AND base.pk <= {first + size}"
    else:
        where = f"base.consent LIKE '{_MARK}%'"
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)}"
        f" FROM copy CROSS JOIN {table.name} base WHERE {where}"
    )


_BODY = {
    "sqlite": f"CAST(replace(CAST(base.body AS TEXT), '{_MARK}', copy.mark) AS BLOB)",
    "postgresql": f"convert_to(replace(convert_from(base.body, 'UTF8'), '{_MARK}', copy.mark),"
    " 'UTF8')",
}
