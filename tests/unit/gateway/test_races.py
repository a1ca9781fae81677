"""Many at once: the criteria of a conditional write and what it does are one step."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from ehr_fhir.patch.patch import parse_patch_body
from ehr_gateway.interactions.bundle.bundle import process_bundle
from ehr_gateway.interactions.create import prepare_create
from ehr_gateway.interactions.delete import delete_matching
from ehr_gateway.interactions.patch import patch
from ehr_gateway.interactions.read import read
from ehr_gateway.interactions.update import update_matching
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.write_batch import run_write
from tests.lib.store import content, found, platform, put

THREADS, ROUNDS = 64, 20


def organization(number: int) -> bytes:
    identifier = [{"system": "http://n", "value": str(number)}]
    return json.dumps({"resourceType": "Organization", "identifier": identifier}).encode()


def create_one(store: Store, number: int) -> None:
    criteria = f"identifier=http://n|{number}"
    run_write(
        store, prepare_create(store, platform(), "Organization", organization(number), criteria)
    )


def update_one(store: Store, number: int) -> None:
    criteria = f"identifier=http://n|{number}"
    update_matching(store, platform(), "Organization", criteria, organization(number))


def transact_one(store: Store, number: int) -> None:
    request = {
        "method": "POST",
        "url": "Organization",
        "ifNoneExist": f"identifier=http://n|{number}",
    }
    entry = {"resource": json.loads(organization(number)), "request": request}
    body = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    process_bundle(store, platform(), json.dumps(body).encode())


def together(stores: list[Store], act: Callable[[Store, int], None], number: int) -> None:
    """Do the same in every thread at the same moment; several stores are several processes."""
    barrier = Barrier(THREADS)

    def one(thread: int) -> None:
        barrier.wait()
        act(stores[thread % len(stores)], number)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(THREADS)))


def make_one_each(
    store: Store, place: Path | str, act: Callable[[Store, int], None], rounds: int
) -> None:
    other = Store(place)
    try:
        for number in range(rounds):
            together([store, other], act, number)
            assert len(found(store, "Organization", f"identifier=http://n|{number}")) == 1
    finally:
        other.close()


@pytest.mark.parametrize("act", [create_one, update_one, transact_one])
def test_parallel_identical_conditional_writes_make_one_resource(
    store: Store, place: Path | str, act: Callable[[Store, int], None]
) -> None:
    make_one_each(store, place, act, ROUNDS)


@pytest.mark.slow
def test_two_hundred_rounds_of_parallel_conditional_creates_make_one_each(
    store: Store, place: Path | str
) -> None:
    make_one_each(store, place, create_one, 200)


def test_parallel_conditional_deletes_delete_once(store: Store) -> None:
    for number in range(ROUNDS):
        made = put(store, json.loads(organization(number)))

        def act(one: Store, number: int) -> None:
            delete_matching(one, platform(), "Organization", f"identifier=http://n|{number}")

        together([store], act, number)
        with store.read_transaction() as connection:
            row = connection.execute("SELECT MAX(version) FROM resource WHERE id = ?", (made.id,))
            assert row.fetchone()[0] == 2


def test_parallel_patches_lose_no_change(store: Store) -> None:
    made = put(store, {"resourceType": "Organization", "alias": ["first"]})
    changes = parse_patch_body(
        b'[{"op":"add","path":"/alias/-","value":"x"}]', "application/json-patch+json"
    )

    def act(one: Store, number: int) -> None:
        patch(one, platform(), "Organization", made.id, changes)

    together([store], act, 0)

    version = read(store, platform(), "Organization", made.id)
    assert len(content(version)["alias"]) == 1 + THREADS
