"""What is written is validated once, before the writer's lock is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from ehr_fhir.patch.patch import parse_patch_body
from ehr_fhir.validation.validate import validate
from ehr_gateway.database import Connection
from ehr_gateway.interactions.bundle.bundle import process_bundle
from ehr_gateway.interactions.create import create, prepare_create
from ehr_gateway.interactions.patch import patch, patch_matching
from ehr_gateway.interactions.update import update, update_matching
from ehr_gateway.store.store import Store
from ehr_gateway.transaction import prepared_resource
from ehr_gateway.transaction.write_batch import run_write
from tests.lib.store import platform, put

NAMED = {"resourceType": "Organization", "id": "a", "name": "A"}
BODY = json.dumps(NAMED).encode()
RENAME = parse_patch_body(
    b'[{"op":"replace","path":"/name","value":"B"}]', "application/json-patch+json"
)
ENTRIES = [
    {"fullUrl": "urn:uuid:1", "request": {"method": "POST", "url": "Organization"},
     "resource": {**NAMED, "partOf": {"reference": "urn:uuid:1"}}},
    {"request": {"method": "PUT", "url": "Organization/a"}, "resource": NAMED},
    {"request": {"method": "POST", "url": "Organization", "ifNoneExist": "name=nobody"},
     "resource": NAMED},
]  # fmt: skip


@pytest.fixture
def judged(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return, for each validation, whether the writer's lock was held."""
    put(store, NAMED)
    held: list[bool] = []
    found: list[bool] = []
    writing = store.database.write_transaction

    @contextmanager
    def watched() -> Iterator[Connection]:
        with writing() as connection:
            held.append(True)
            try:
                yield connection
            finally:
                held.pop()

    def watching(resource: Mapping[str, Any], expected_type: str | None = None) -> None:
        found.append(bool(held))
        validate(resource, expected_type)

    monkeypatch.setattr(store.database, "write_transaction", watched)
    monkeypatch.setattr(prepared_resource, "validate", watching)
    return found


def test_every_write_validates_once_and_before_the_lock(store: Store, judged: list[bool]) -> None:
    access, kind = platform(), "Organization"
    for act in (
        lambda: create(store, access, kind, BODY),
        lambda: run_write(store, prepare_create(store, access, kind, BODY, "name=nobody")),
        lambda: update(store, access, kind, "a", BODY),
        lambda: update_matching(store, access, kind, "_id=a", BODY),
        lambda: patch(store, access, kind, "a", RENAME),
        lambda: patch_matching(store, access, kind, "_id=a", RENAME),
    ):
        judged.clear()

        act()

        assert judged == [False]


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_every_entry_is_validated_once_and_before_the_lock(
    store: Store, judged: list[bool], kind: str
) -> None:
    entries = ENTRIES if kind == "transaction" else ENTRIES[1:]
    body = {"resourceType": "Bundle", "type": kind, "entry": entries}

    result = process_bundle(store, platform(), json.dumps(body).encode())

    assert [entry.status[:2] for entry in result.entries] == ["20"] * len(entries)
    assert judged == [False] * len(entries)


def test_a_patch_is_worked_out_again_when_another_write_came_between(
    store: Store, judged: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = store.database.write_transaction

    def interrupted() -> Any:
        monkeypatch.setattr(store.database, "write_transaction", begun)
        update(store, platform(), "Organization", "a", BODY.replace(b'"A"', b'"C","alias":["D"]'))
        return begun()

    monkeypatch.setattr(store.database, "write_transaction", interrupted)

    result = patch(store, platform(), "Organization", "a", RENAME)

    assert (result.version.version, json.loads(result.version.body)["alias"]) == (3, ["D"])
    assert judged == [False, False, True]
