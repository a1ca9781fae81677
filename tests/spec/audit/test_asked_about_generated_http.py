"""Counts, criteria and ids of every type against the patients' log, made from the definitions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

import pytest

from ehr_fhir import definitions
from ehr_fhir.search_parameters import official_parameters
from ehr_gateway.interaction_codes import NOT_WRITTEN
from ehr_privacy.consent.domain_rules import load_domains
from tests.lib import declared
from tests.lib.gateway import House, Session

# A statement is planned anew by PostgreSQL where SQLite is quick: fewer of each form.
MOST = {"sqlite": 12, "postgresql": 3}


@pytest.fixture
def filled(furnished: House) -> House:
    """Return a house with a record of every type about each of two patients."""
    # A notice of these accesses would come at a time of chance.
    furnished.app.state.deliveries.stop()
    declared.fill(furnished, "pat-1", declared.SHOWN)
    declared.fill(furnished, "pat-2", declared.HIDDEN)
    return furnished


def on_record(house: House, session: Session, addresses: Iterable[str]) -> dict[str, set[str]]:
    """Ask each address; return the patients whom each put on record."""
    asked = {f"request-{number:06}": address for number, address in enumerate(addresses)}
    for request, address in asked.items():
        answer = session.get(address, headers={"X-Request-Id": request})
        assert answer.status_code < 500, address
    house.gateway.audit_batcher.flush()
    found: dict[str, set[str]] = defaultdict(set)
    with house.gateway.store.read_transaction() as connection:
        for row in connection.execute("SELECT request_id, patient FROM audit"):
            if row["patient"] and row["request_id"] in asked:
                found[asked[row["request_id"]]].add(row["patient"])
    return found


def test_a_count_puts_on_record_whom_its_page_would(filled: House, database: str) -> None:
    forms = declared.reads(filled.client.get("/fhir/metadata").json())
    most = MOST[database]
    searches = [
        re.sub("&_count=1(?=&|$)", "", address)
        for form, addresses in forms.items()
        for address in addresses[:: -(-len(addresses) // most) or 1]
        if re.match("[A-Za-z]+[?]", address) and "include=" not in address and form != "_explain"
    ]
    author = filled.system("ehr-commons")

    pages = on_record(filled, author, [f"{search}&_count=1000" for search in searches])
    counts = on_record(filled, author, [f"{search}&_summary=count" for search in searches])
    totals = on_record(filled, author, [f"{search}&_count=0" for search in searches])

    assert sum(map(bool, pages.values())) > len(searches) / 3
    for search in searches:
        page = pages[f"{search}&_count=1000"]
        assert counts[f"{search}&_summary=count"] == page, search
        assert totals[f"{search}&_count=0"] == page, search


def test_every_reference_to_a_patient_names_that_patient(furnished: House, database: str) -> None:
    addresses = [
        f"{kind}?{code}=Patient/nobody-{number}"
        for kind in sorted(definitions.resource_types() - set(NOT_WRITTEN))
        for number, (code, parameter) in enumerate(official_parameters(kind).items())
        if parameter.type == "reference"
        and parameter.is_indexed
        and (not parameter.targets or "Patient" in parameter.targets)
    ]

    found = on_record(furnished, furnished.login("doctor.b"), addresses)

    assert len(addresses) > 150
    assert found == {address: {address.rpartition("/")[2]} for address in addresses}


def test_every_record_and_every_identifier_names_its_patient(filled: House) -> None:
    # A Patient names itself; a container, in this test, no patient of this server.
    others = {*NOT_WRITTEN, "Bundle", "Parameters", "Patient"}
    kinds = sorted(definitions.resource_types() - load_domains().directory - others)
    by_id = {f"{kind}/{declared.HIDDEN}-{kind.lower()}": {"pat-2"} for kind in kinds}
    by_identifier = {
        f"{kind}?{code}=word": {"pat-1", "pat-2"}
        for kind in kinds
        for code, parameter in official_parameters(kind).items()
        if parameter.is_indexed and parameter.datatypes == {"Identifier"}
    }
    chained = {
        f"{kind}?{code}:Patient.identifier=ZB1234563": {"pat-2"}
        for kind in kinds
        for code, parameter in official_parameters(kind).items()
        if parameter.type == "reference" and parameter.is_indexed and "Patient" in parameter.targets
    }
    expected = by_id | by_identifier | chained

    found = on_record(filled, filled.login("doctor.b"), expected)

    assert len(by_id) > 60
    assert len(by_identifier) > 50
    different = {key: found[key] for key, named in expected.items() if found[key] != named}
    assert different == {}
