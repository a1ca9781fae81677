"""A folder of open data with months of made-up numbers, as the platform writes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from ehr_analytics.open_data.declaration import load_declaration
from ehr_analytics.open_data.publication import approve, propose
from ehr_analytics.open_data.published_files import open_data_folder, write_files
from ehr_analytics.register import Register
from ehr_etl.trusted_zone.organizations import OrganizationName

NAMES = {
    "ha-harbour": OrganizationName("Harbour Hospital", "海港醫院"),
    "ha-lion-rock": OrganizationName("Lion Rock Hospital", "獅子山醫院"),
}
MONTHS = ("2026-04", "2026-05", "2026-06")
HOURS = ("2026-07-14T20", "2026-07-14T21")
BASE = "https://ehr.example"


def write_open_data(data: Path, months: tuple[str, ...] = MONTHS) -> Path:
    """Publish attendances by hospital and by hour, waiting times, also live; return the folder."""
    register = Register(data, clock=lambda: datetime(2026, 7, 15, tzinfo=UTC))
    for dataset in (
        "emergency-attendances",
        "emergency-attendances-by-hour",
        "emergency-waiting-times",
        "emergency-waiting-times-live",
    ):
        propose(register, load_declaration(dataset), "researcher.lau")
        approve(register, dataset, "steward.ng", "Asked for.")
        approve(register, dataset, "auditor.tse", "Counts alone.")
        for number, month in enumerate(HOURS if dataset.endswith("-live") else months):
            with register.transaction() as connection:
                connection.execute(
                    "INSERT INTO open_month VALUES (?, ?, ?, ?, ?)",
                    (dataset, month, json.dumps(_rows(dataset, month, number)), "{}",
                     register.timestamp()),
                )  # fmt: skip
    write_files(register, BASE, NAMES)
    return open_data_folder(data)


def _rows(dataset: str, month: str, number: int) -> list[dict[str, object]]:
    if dataset == "emergency-attendances-by-hour":
        by_hour: list[dict[str, object]] = [
            {"month": month, "hour": f"{h:02d}", "attendances": None if h < 5 else 40 + h * number}
            for h in range(24)
        ]
        return [{"month": month, "hour": "all", "attendances": 900 + 45 * number}, *by_hour]
    places = [("all", 900 + 45 * number), ("ha-harbour", 700 + 30 * number), ("ha-lion-rock", None)]
    if dataset == "emergency-attendances":
        return [{"month": month, "hospital": h, "attendances": n} for h, n in places]
    return [
        {
            "hour" if "T" in month else "month": month,
            "hospital": hospital,
            "people": people,
            "median_minutes": None if people is None else 31.5 + number,
            "p95_minutes": None if people is None else 142.0 + number,
        }
        for hospital, people in places
    ]
