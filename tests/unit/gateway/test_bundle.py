"""Batch and transaction Bundles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ehr_fhir.errors import EhrError, Invalid, TooCostly, Unprocessable, Unsupported
from ehr_gateway.interactions.bundle.bundle import BundleResult, process_bundle
from ehr_gateway.store.store import Store
from tests.lib.store import content, found, platform, put, rows


def entry(method: str, url: str, **parts: Any) -> dict[str, Any]:
    request = {"method": method, "url": url}
    for name in ("ifMatch", "ifNoneExist"):
        if name in parts:
            request[name] = parts.pop(name)
    return {"request": request, **parts}


def post(store: Store, kind: str, *entries: dict[str, Any]) -> BundleResult:
    body = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    return process_bundle(store, platform(), json.dumps(body).encode())


def observation(subject: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": subject},
        **more,
    }


def test_entries_of_a_transaction_refer_to_each_other_in_any_order(store: Store) -> None:
    result = post(
        store,
        "transaction",
        entry("POST", "Observation", fullUrl="urn:uuid:2", resource=observation("urn:uuid:1")),
        entry("POST", "Patient", fullUrl="urn:uuid:1", resource={"resourceType": "Patient"}),
    )

    assert [one.status for one in result.entries] == ["201 Created", "201 Created"]
    made, patient = (one.version for one in result.entries)
    assert made is not None
    assert patient is not None
    assert content(made)["subject"]["reference"] == f"Patient/{patient.id}"
    assert result.entries[0].location == f"Observation/{made.id}/_history/1"
    assert result.entries[0].etag == 'W/"1"'


def test_circular_references_are_resolved(store: Store) -> None:
    result = post(
        store,
        "transaction",
        entry(
            "POST",
            "Patient",
            fullUrl="urn:uuid:1",
            resource={
                "resourceType": "Patient",
                "link": [{"other": {"reference": "urn:uuid:2"}, "type": "seealso"}],
            },
        ),
        entry(
            "POST",
            "Patient",
            fullUrl="urn:uuid:2",
            resource={
                "resourceType": "Patient",
                "link": [{"other": {"reference": "urn:uuid:1"}, "type": "seealso"}],
            },
        ),
    )

    first, second = (one.version for one in result.entries)
    assert first is not None
    assert second is not None
    assert content(first)["link"][0]["other"]["reference"] == f"Patient/{second.id}"


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(Unprocessable) as caught:
        post(
            store,
            "transaction",
            entry("POST", "Patient", resource={"resourceType": "Patient"}),
            entry("POST", "Patient", resource={"resourceType": "Patient", "active": "x"}),
        )

    assert caught.value.issues[0].expression == "Bundle.entry[1].resource.active"
    assert rows(store, "SELECT * FROM resource") == []


def test_a_dangling_reference_fails_the_transaction(store: Store) -> None:
    with pytest.raises(Unprocessable, match="not in the Bundle"):
        post(store, "transaction", entry("POST", "Observation", resource=observation("urn:uuid:9")))
    with pytest.raises(Unprocessable, match="does not exist"):
        post(store, "transaction", entry("POST", "Observation", resource=observation("Patient/9")))


def test_a_batch_goes_on_after_a_failure(store: Store) -> None:
    result = post(
        store,
        "batch",
        entry("POST", "Patient", resource={"resourceType": "Patient", "active": "x"}),
        entry("POST", "Patient", resource={"resourceType": "Patient"}),
        entry("GET", "Patient/none"),
        {"request": {"method": "BREW", "url": "Patient"}},
    )

    assert [one.status[:3] for one in result.entries] == ["422", "201", "404", "405"]
    assert result.entries[0].outcome is not None
    assert result.entries[0].body is None


def test_every_method_is_served(store: Store) -> None:
    put(store, {"resourceType": "Patient", "id": "a"})
    put(store, {"resourceType": "Patient", "id": "b"})

    result = post(
        store,
        "transaction",
        entry("GET", "Patient?_total=accurate"),
        entry("GET", "Patient/a"),
        entry("GET", "Patient/a/_history/1"),
        entry("PUT", "Patient/a", resource={"resourceType": "Patient", "id": "a"}, ifMatch='W/"1"'),
        entry("DELETE", "Patient/b"),
        entry("PUT", "Patient/new", resource={"resourceType": "Patient", "id": "new"}),
    )

    assert [one.status[:3] for one in result.entries] == ["200", "200", "200", "200", "204", "201"]
    page = result.entries[0].page
    assert page is not None
    assert [one.id for one in page.matches] == ["a", "new"]
    version = result.entries[1].version
    assert version is not None
    assert version.version == 2
    assert {one.id for one in result.read} == {"a", "new"}


def test_a_conditional_create_takes_what_exists(store: Store) -> None:
    known = put(store, {"resourceType": "Organization", "identifier": [{"value": "1"}]})

    result = post(
        store,
        "transaction",
        entry(
            "POST",
            "Organization",
            fullUrl="urn:uuid:o",
            resource={"resourceType": "Organization"},
            ifNoneExist="identifier=1",
        ),
        entry(
            "POST",
            "Patient",
            resource={
                "resourceType": "Patient",
                "managingOrganization": {"reference": "urn:uuid:o"},
            },
        ),
    )

    assert result.entries[0].status == "200 OK"
    assert found(store, "Patient", f"organization={known.id}") != []


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({}, "request"),
        ({"request": {"method": "GET", "url": "Foo/1"}}, "url"),
        ({"request": {"method": "POST", "url": "Patient"}}, "resource"),
        ({"request": {"method": "POST", "url": "Patient/1"}, "resource": {}}, "POST"),
        ({"request": {"method": "PUT", "url": "Patient"}}, "Type/id"),
        ({"request": {"method": "PUT", "url": "Patient?name=x"}}, "resource"),
        ({"request": {"method": "DELETE", "url": "Patient/1?name=x"}}, "Type.criteria"),
        ({"request": {"method": "GET", "url": "Patient/1", "ifMatch": "x"}}, "ifMatch"),
    ],
)
def test_a_malformed_entry_is_named(store: Store, bad: dict[str, Any], says: str) -> None:
    with pytest.raises((Invalid, Unsupported), match=says) as caught:
        post(store, "transaction", bad)

    assert str(caught.value.issues[0].expression).startswith("Bundle.entry[0]")


def test_a_transaction_touches_a_resource_once(store: Store) -> None:
    one = entry("PUT", "Patient/a", resource={"resourceType": "Patient", "id": "a"})

    with pytest.raises(Invalid, match="once"):
        post(store, "transaction", one, one)


def test_a_full_url_stands_once(store: Store) -> None:
    one = entry("POST", "Patient", fullUrl="urn:uuid:1", resource={"resourceType": "Patient"})

    with pytest.raises(Invalid, match="another entry") as caught:
        post(store, "transaction", one, one)

    assert caught.value.issues[0].expression == "Bundle.entry[1].fullUrl"
    assert rows(store, "SELECT * FROM resource") == []


@pytest.mark.parametrize("kind", ["collection", "", "document"])
def test_other_bundles_are_not_carried_out(store: Store, kind: str) -> None:
    with pytest.raises(Invalid, match="batch or transaction"):
        post(store, kind)


def test_what_is_no_bundle_is_refused(store: Store) -> None:
    with pytest.raises(Invalid, match="must be a Bundle"):
        process_bundle(store, platform(), b'{"resourceType":"Patient"}')
    with pytest.raises(Invalid, match="array"):
        process_bundle(store, platform(), b'{"resourceType":"Bundle","type":"batch","entry":{}}')
    with pytest.raises(TooCostly):
        post(store, "batch", *[{}] * 10_001)
    with pytest.raises(EhrError):
        process_bundle(store, platform(), b"{")
