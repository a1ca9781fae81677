"""A small hospital's records for tests of the lake, with every kind of identifier planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_etl.gold.library import list_view_names
from ehr_etl.lake import Lake, gold_table_name, read_small_table
from tests.lib.feed_lines import consent, decision_lines, feed_line

KEY = b"0123456789abcdef0123456789abcdef"
NOW_MS = 1795334400000  # 2026-11-22T08:00:00Z

TABLES = (
    *("bronze", "silver", "quarantine", "deid"),
    *(gold_table_name(view) for view in list_view_names()),
    *("silver_history", "decisions"),
)
# What must never leave the trusted zone.
PLANTED = (
    *("CHAN", "Tai Man", "陳大文", "A123456(3)", "A1234563", "+852 9123 4567", "91234567"),
    *("Flat 7B, 18 Nathan Road", "彌敦道", "chan.taiman@example.hk", "DrWongSecret"),
    *("p-one", "p-two", "p-three", "enc-one", "cond-one", "ha-harbour"),
    *("1956-03-04", "2026-03-01T09", "told the nurse"),
)


def patient(identifier: str, **changed: Any) -> dict[str, Any]:
    """Return a Hong Kong patient with names, HKID, telephone, mail and address."""
    return {
        "resourceType": "Patient",
        "id": identifier,
        "identifier": [{"system": "https://www.immd.gov.hk/hkid", "value": "A123456(3)"}],
        "name": [{"family": "CHAN", "given": ["Tai Man"]}, {"text": "陳大文"}],
        "telecom": [
            {"system": "phone", "value": "+852 9123 4567"},
            {"system": "email", "value": "chan.taiman@example.hk"},
        ],
        "gender": "male",
        "birthDate": "1956-03-04",
        "address": [
            {
                "line": ["Flat 7B, 18 Nathan Road", "彌敦道"],
                "district": "Yau Tsim Mong",
                "country": "HK",
            }
        ],
        **changed,
    }


def encounter(identifier: str, whose: str, **changed: Any) -> dict[str, Any]:
    """Return a finished stay that names its patient and doctor."""
    return {
        "resourceType": "Encounter",
        "id": identifier,
        "status": "finished",
        "class": {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
            "code": "IMP",
        },
        "subject": {"reference": f"Patient/{whose}", "display": "CHAN Tai Man"},
        "participant": [{"individual": {"display": "DrWongSecret"}}],
        "period": {"start": "2026-03-01T09:00:00+08:00", "end": "2026-03-04T09:00:00+08:00"},
        "serviceProvider": {"reference": "Organization/ha-harbour"},
        **changed,
    }


def condition(identifier: str, whose: str, stay: str, **changed: Any) -> dict[str, Any]:
    """Return a diagnosis with a free-text note."""
    return {
        "resourceType": "Condition",
        "id": identifier,
        "clinicalStatus": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
                    "code": "active",
                }
            ]
        },
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]},
        "subject": {"reference": f"Patient/{whose}"},
        "encounter": {"reference": f"Encounter/{stay}"},
        "onsetDateTime": "2026-03-01T09:00:00+08:00",
        "note": [{"text": "CHAN Tai Man told the nurse"}],
        **changed,
    }


def hospital() -> list[dict[str, Any]]:
    """Return three patients: two joined, the third not; one record that is not good."""
    return [
        patient("p-one"),
        patient("p-two", gender="female"),
        patient("p-three"),
        consent("p-one", "joining"),
        consent("p-two", "joining"),
        encounter("enc-one", "p-one"),
        encounter("enc-two", "p-two"),
        encounter("enc-three", "p-three"),
        condition("cond-one", "p-one", "enc-one"),
        condition("cond-two", "p-two", "enc-two"),
        encounter("enc-bad", "p-one", period={"start": "2026-03-04", "end": "2026-03-01"}),
    ]


@dataclass
class Pages:
    """A feed held in memory."""

    content: list[bytes]

    def pages(self, after: int, decisions: int) -> Iterator[bytes]:
        """Yield every page; what was taken in before is dropped."""
        yield from self.content


def first_feed(extra: list[dict[str, Any]] | None = None) -> Pages:
    """Return two pages: the hospital, a repeated newer version, and a line that is broken."""
    resources = [*hospital(), *(extra or [])]
    lines = [feed_line(number, one) for number, one in enumerate(resources, 1)]
    last = len(lines)
    newer = patient("p-one", maritalStatus={"text": "married"})
    lines.append(feed_line(last + 1, newer, version=2))
    lines.append(b'{"position": broken')
    lines.append(feed_line(last + 2, encounter("enc-four", "p-two")))
    lines += decision_lines(resources)
    half = len(lines) // 2
    return Pages([b"\n".join(lines[:half]) + b"\n", b"\n".join(lines[half:]) + b"\n"])


def rows(lake: Lake, table: str) -> list[str]:
    """Return every row of a table as JSON text, in one order."""
    found = read_small_table(lake, table).to_pylist()
    return sorted(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str) for row in found)


def resources(lake: Lake, table: str, kind: str) -> list[str]:
    """Return the ids of a type in silver or deid."""
    found = read_small_table(lake, table).to_pylist()
    return sorted(row["id"] for row in found if row["type"] == kind and row.get("resource"))


def everything_in(folder: Path) -> str:
    """Return all text of a Delta table's folder: rows of every data file, and its log."""
    import pyarrow.parquet as pq

    parts = [file.read_text() for file in folder.rglob("*.json")]
    parts += [
        json.dumps(pq.read_table(file).to_pylist(), ensure_ascii=False, default=str)
        for file in folder.rglob("*.parquet")
        if "_delta_log" not in file.parts
    ]
    return "\n".join(parts)
