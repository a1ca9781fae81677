"""The current version keeps its row, whatever is written: only what differs is written anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_gateway.audit_log.recorder import AuditContext, build_disclosure_rows
from ehr_gateway.interactions.delete import delete
from ehr_gateway.interactions.read import read
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store.store import Store, Version
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.store import NOW, content, found, platform, put, rows

CODE = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
UCUM = "http://unitsofmeasure.org"
# Optional elements, two values each: rows of every index table.
ELEMENTS: dict[str, dict[str, list[Any]]] = {
    "Patient": {
        "active": [True, False],
        "birthDate": ["1950-01-02", "1951"],
        "gender": ["female", "other"],
        "identifier": [
            [{"system": "http://n", "value": "1"}],
            [{"system": "http://n", "value": "1"}, {"value": "2"}],
        ],
        "name": [
            [{"family": "Chan", "given": ["Tai"]}],
            [{"family": "Chan", "given": ["Siu", "Ming"]}],
        ],
        "text": [
            {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{words}</div>'}
            for words in ("a lucky woman", "a lucky man")
        ],
    },
    "Observation": {
        "effectiveDateTime": ["2026-01-02", "2026-01-03T10:00:00+08:00"],
        "interpretation": [[CODE], [{"text": "high"}]],
        "note": [[{"text": "after breakfast"}], [{"text": "after lunch"}]],
        "subject": [{"display": "nobody"}, {"identifier": {"value": "3"}}],
        "valueQuantity": [
            {"value": 7.2, "system": UCUM, "code": "mmol/L", "unit": "mmol/L"},
            {"value": 129.6, "unit": "mg/dL"},
        ],
        "meta": [{"profile": ["http://p/1"]}, {"tag": [{"code": "t"}], "profile": ["http://p/2"]}],
    },
    "Location": {
        "name": ["Ward", "Ward 2"],
        "position": [{"longitude": 114.1, "latitude": 22.3}, {"longitude": 114.2, "latitude": 22}],
    },
    "RiskAssessment": {
        "prediction": [[{"probabilityDecimal": 0.1}], [{"probabilityDecimal": 0.25}]],
    },
}  # fmt: skip
REQUIRED: dict[str, dict[str, Any]] = {
    "Patient": {},
    "Observation": {"status": "final", "code": CODE},
    "Location": {},
    "RiskAssessment": {"status": "final", "subject": {"display": "nobody"}},
}


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any] | None]:
    """Draw the versions of one resource; None for a deletion."""
    kind = draw(st.sampled_from(sorted(ELEMENTS)))
    versions: list[dict[str, Any] | None] = []
    for _ in range(draw(st.integers(2, 4))):
        chosen = {
            name: draw(st.sampled_from(values))
            for name, values in ELEMENTS[kind].items()
            if draw(st.booleans())
        }
        versions.append({"resourceType": kind, **REQUIRED[kind], **chosen})
        # A Patient is erased, not deleted.
        if kind != "Patient" and draw(st.integers(0, 4)) == 0:
            versions.append(None)
    return versions


def indexed(store: Store, version: Version) -> dict[str, list[tuple[Any, ...]]]:
    """Return the index rows of a version, without its key."""
    return {
        table: sorted(
            rows(store, f"SELECT {', '.join(columns)}, param FROM {name} WHERE pk = ?", version.pk)
        )
        for table, columns in INDEX_COLUMNS.items()
        for name in (f"idx_{table}",)
    }


@settings(max_examples=40)
@given(histories())
def test_the_index_of_an_updated_resource_is_that_of_a_new_one(
    store: Store, history: list[dict[str, Any] | None]
) -> None:
    last = history.pop() if history[-1] is not None else None
    first = put(store, history[0] or {})
    kind, identity = first.type, first.id
    for body in history[1:]:
        if body is None:
            delete(store, platform(), kind, identity)
        else:
            put(store, {**body, "id": identity})
    if last is None:
        assert not any(indexed(store, first).values())
        return
    updated = put(store, {**last, "id": identity})

    assert updated.pk == first.pk
    assert indexed(store, updated) == indexed(store, put(store, last))
    kept = rows(
        store,
        "SELECT version, current FROM resource WHERE type = ? AND id = ? ORDER BY position",
        kind,
        identity,
    )
    assert kept == [(number, int(number == updated.version)) for number in range(1, len(kept) + 1)]


def test_an_update_leaves_the_index_rows_that_stay(store: Store) -> None:
    body = {
        "resourceType": "Patient",
        **{name: values[0] for name, values in ELEMENTS["Patient"].items()},
    }
    before = put(store, body)
    statements: list[str] = []
    with store.write_transaction() as connection:
        if connection.dialect != "sqlite":
            pytest.skip("SQLite tells each statement; PostgreSQL is given one.")
        connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]

    put(store, {**body, "id": before.id, "gender": "male"})

    written = [text for text in statements if "idx_" in text and not text.startswith("SELECT")]
    assert [text.split(" (")[0].split(" WHERE")[0] for text in written] == [
        "DELETE FROM idx_token",
        "INSERT INTO idx_token",
    ]


def test_words_of_the_version_before_find_nothing(store: Store) -> None:
    first, second = ELEMENTS["Patient"]["text"]
    version = put(store, {"resourceType": "Patient", "text": first})
    put(store, {"resourceType": "Patient", "id": version.id, "text": second})

    assert found(store, "Patient", "_text=woman") == []
    assert found(store, "Patient", "_text=man") == [version.id]

    put(store, {"resourceType": "Patient", "id": version.id})

    assert found(store, "Patient", "_text=lucky") == []


def test_positions_rise_and_are_never_given_again(store: Store) -> None:
    versions = [put(store, {"resourceType": "Organization", "name": "a"})]
    versions += [
        put(store, {"resourceType": "Organization", "id": versions[0].id, "name": name})
        for name in "bcd"
    ]

    entries = list(store.read_feed(versions[0].position - 1, 10).entries)

    assert [entry.position for entry in entries] == [version.position for version in versions]
    assert [content(entry.version)["name"] for entry in entries] == list("abcd")
    assert sorted({version.position for version in versions}) == [
        version.position for version in versions
    ]


def test_the_log_names_the_patient_of_the_version_that_was_read(store: Store) -> None:
    """Also when the record is moved to another patient before the entry is written."""
    people = [put(store, {"resourceType": "Patient"}).id for _ in range(2)]
    record = {"resourceType": "Observation", "status": "final", "code": CODE}
    stored = put(store, {**record, "subject": {"reference": f"Patient/{people[0]}"}})
    disclosed = read(store, platform(), "Observation", stored.id)
    put(
        store,
        {**record, "id": stored.id, "subject": {"reference": f"Patient/{people[1]}"}},
    )

    subject = Subject(login="dr", role="steward", organization="o", display="Dr", client="c")
    audit_context = AuditContext(subject, "TREAT", NOW, "r", "read")
    with store.read_transaction() as connection:
        (row,) = build_disclosure_rows(connection, audit_context, [disclosed])

    assert people[0] in row
    assert people[1] not in row
