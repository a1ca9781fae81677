"""A gateway that is served with a lake of made-up people, and projects that read their rows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa

from ehr_analytics import project as projects
from ehr_analytics.register import Register
from ehr_cli.research_queries import ProjectQueries
from ehr_etl.gold.notes import NOTES_SCHEMA, NOTES_TABLE
from ehr_etl.lake import GOLD_BUCKET, TABLES, Lake
from ehr_etl.tables.bucketed import append_rows, create_table, create_tables
from ehr_privacy.deid import pseudonym
from tests.lib import research
from tests.lib.gateway import House, consent
from tests.lib.gold import made_up, write

ITEMS = (
    "patient_demographics.id",
    "patient_demographics.gender",
    "patient_demographics.birth_year",
    "encounter_flat.patient_id",
    "encounter_flat.class",
)


def serve_with_lake(house: House) -> House:
    """Serve a gateway with the lake; doctor.b is in a project that may read rows."""
    data = house.settings.data
    gateway = house.app.state.gateway
    house.app.state.gateway = replace(gateway, research=ProjectQueries(data))
    make_lake(house)
    open_project(data, "falls", (*ITEMS, projects.READ_ROWS))
    open_project(data, "counts", ITEMS)
    open_project(data, "notes", (*ITEMS, projects.READ_ROWS, projects.READ_NOTES))
    open_project(data, "own", (*ITEMS, projects.READ_ROWS, projects.OWN_VIEWS))
    return house


def make_lake(house: House, people: int = 30) -> None:
    """Write gold tables, in which the first person is pat-1, and what the lake knows of them."""
    data, lake = house.settings.data, Lake(house.settings.data / "lake")
    (data / "keys").mkdir(exist_ok=True)
    (data / "keys" / "deid.key").write_bytes(b"k" * 32)
    name = pseudonym(b"k" * 32, "Patient/pat-1")
    views = {view: frame.replace(f"{0:032x}", name) for view, frame in made_up(people).items()}
    # The made-up ids of people are those of visits too; keys of the lake are of one record.
    views = {
        view: frame.assign(_key=frame["id"] if "patient_id" not in frame else view + frame["id"])
        for view, frame in views.items()
    }
    write(data, views)
    create_tables(lake)
    patients, encounters = views["patient_demographics"], views["encounter_flat"]
    rows = [
        {
            "bucket": 0,
            "type": kind,
            "id": key,
            "patient": patient,
            "episode": key,
            "resource": _resource(kind, key, patient),
        }
        for kind, keys, patients in (
            ("Patient", patients["id"], patients["id"]),
            ("Encounter", encounters["_key"], encounters["patient_id"]),
        )
        for key, patient in zip(keys, patients, strict=True)
    ]
    append_rows(lake, "deid", pa.Table.from_pylist(rows, schema=TABLES["deid"].schema))
    create_table(lake, NOTES_TABLE, NOTES_SCHEMA, GOLD_BUCKET)
    append_rows(lake, NOTES_TABLE, pa.Table.from_pylist(_notes(name), schema=NOTES_SCHEMA))
    position, decision = house.gateway.store.read_feed_end()
    nothing = TABLES["bronze"].schema.empty_table()
    append_rows(
        lake, "bronze", nothing, {"position": position, "decision": decision, "sequence": 0}
    )


def _notes(patient: str) -> list[dict[str, Any]]:
    """Return two notes of a patient: of the Patient's own record, and of one that has left deid."""
    note = {
        "_bucket": 0, "record_type": "Patient", "patient_id": patient, "element": "Patient.note",
        "note": "⟦PATIENT:0123456789ABCDEF⟧ fell on ⟦DATE⟧",
    }  # fmt: skip
    return [{**note, "_key": key, "record_id": key} for key in (patient, "f" * 32)]


def _resource(kind: str, key: str, patient: str) -> str:
    content = {"resourceType": kind, "id": key}
    if kind == "Encounter":
        return json.dumps({**content, "subject": {"reference": f"Patient/{patient}"}})
    return json.dumps({**content, "gender": "female"})


def open_project(data: Any, project: str, items: tuple[str, ...]) -> None:
    register = Register(data)
    today = register.clock().date()
    research.open_project(
        register, id=project, items=items, people=("doctor.b",), applicant="doctor.b",
        period_from=today, period_to=today + timedelta(days=365),
    )  # fmt: skip


def parameters(**values: Any) -> dict[str, Any]:
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": name, **value} if isinstance(value, dict) else simple_parameter(name, value)
            for name, value in values.items()
        ],
    }


def simple_parameter(name: str, value: Any) -> dict[str, Any]:
    kind = "valueInteger" if isinstance(value, int) else "valueString"
    return {"name": name, kind: value}


def leave(house: House, category: str) -> None:
    """Let pat-1 opt out of research, or leave altogether."""
    if category == "research":
        body = consent("no-more", category, provision={"type": "deny"})
        house.login("p.pat-1").store(body)
    else:
        house.login("p.pat-1").store(consent("joining-1", category, status="inactive"))
