"""What the tables carry over between merged accounts is what the pure rule says, at every write."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from ehr_fhir.json_text import parse
from ehr_gateway.interactions.delete import delete
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load
from ehr_privacy.consent import TABLES, extend_to_merged_accounts, rule_rows
from tests.lib.store import actor, consent, platform, put, rows

PATIENTS = tuple(f"p{number}" for number in range(6))
CONSENTS = tuple(f"c{number}" for number in range(5))
CLINIC = actor("clinic")
PROVISIONS = (
    ("restriction", {"type": "deny", "provision": [{"type": "permit", "actor": [CLINIC]}]}),
    ("restriction", {"type": "deny", "actor": [CLINIC]}),
    ("research", {"type": "deny"}),
    ("research", {"type": "permit"}),
    (
        "hold",
        {"type": "deny", "actor": [CLINIC], "period": {"end": "2027-01-01"}},
    ),
    ("sharing", {"type": "permit", "actor": [CLINIC]}),
)
Tables = dict[str, Counter[tuple[Any, ...]]]


def account(identity: str, *others: str, kind: str = "replaces") -> dict[str, Any]:
    links = [{"type": kind, "other": {"reference": f"Patient/{one}"}} for one in others]
    return {"resourceType": "Patient", "id": identity, **({"link": links} if links else {})}


def furnish(store: Store) -> None:
    """Put in what the others refer to."""
    put(store, {"resourceType": "Organization", "id": "clinic", "name": "Clinic"})
    for identity in PATIENTS:
        put(store, account(identity))
        result = {"resourceType": "Observation", "id": f"result-{identity}", "status": "final"}
        subject = {"reference": f"Patient/{identity}"}
        put(store, {**result, "code": {"text": "x"}, "subject": subject})


def in_the_tables(store: Store) -> Tables:
    return {
        table: Counter(rows(store, f"SELECT {', '.join(one.name for one in columns)} FROM {table}"))
        for table, columns in TABLES.items()
    }


def by_the_rule(store: Store) -> Tables:
    bodies = rows(store, "SELECT body FROM resource WHERE current = 1 AND deleted = 0")
    made = extend_to_merged_accounts(row for (body,) in bodies for row in rule_rows(parse(body)))
    return {
        table: Counter(
            tuple(row.values[one.name] for one in columns) for row in made if row.table == table
        )
        for table, columns in TABLES.items()
    }


def test_after_any_write_the_tables_hold_what_the_rule_carries_over(store: Store) -> None:
    furnish(store)
    chance, alive, carried = random.Random(7), set(PATIENTS), 0

    for _ in range(150):
        patient = chance.choice(PATIENTS)
        others = chance.sample(sorted(alive), k=min(len(alive), chance.choice((0, 0, 1, 1, 2))))
        kind = chance.choice(("replaces", "replaced-by", "replaced-by", "seealso"))
        match chance.choice(("account", "account", "close", "consent", "consent", "withdraw")):
            case "account":
                # One may name itself, too.
                put(store, account(patient, *others, kind=kind))
                alive.add(patient)
            case "close" if patient in alive and len(alive) > 3:
                delete(store, platform(), "Patient", patient)
                alive.discard(patient)
            case "consent" if patient in alive:
                category, provision = chance.choice(PROVISIONS)
                if category == "hold":
                    # A Consent names records of its own patient alone.
                    result = {"reference": f"Observation/result-{patient}"}
                    provision = {
                        **provision,
                        "data": [{"meaning": "instance", "reference": result}],
                    }
                body = consent(patient, category, **provision)
                put(store, {**body, "id": chance.choice(CONSENTS)})
            case "withdraw":
                known = rows(store, "SELECT id FROM resource WHERE type = 'Consent'")
                for (identity,) in known[:1]:
                    delete(store, platform(), "Consent", identity)
        found = in_the_tables(store)

        assert found == by_the_rule(store)
        closed = found["consent_restriction"]
        carried += len({row[:2] for row in closed}) < len(closed)

    assert carried > 20


def test_a_load_carries_over_in_whichever_order_the_files_are(store: Store, tmp_path: Path) -> None:
    put(store, {"resourceType": "Organization", "id": "clinic", "name": "Clinic"})
    category, provision = PROVISIONS[0]
    of_one, of_three = (
        {**consent(patient, category, **provision), "id": f"hide-{patient}"}
        for patient in ("p1", "p3")
    )
    lines = [of_one, account("p2", "p1"), account("p1"), account("p3", "p2"), of_three]
    file = tmp_path / "all.ndjson"
    file.write_text("\n".join(map(json.dumps, lines)))

    report = load(store, [file])

    assert report.accepted == len(lines)
    assert in_the_tables(store) == by_the_rule(store)
    closed = rows(store, "SELECT consent, patient FROM consent_restriction ORDER BY 1, 2")
    assert closed == [
        (f"hide-{one}", other) for one in ("p1", "p3") for other in ("p1", "p2", "p3")
    ]
