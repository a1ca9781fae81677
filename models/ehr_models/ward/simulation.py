"""A ward that is made up: stays with rounds of signs, laboratory values, deaths and transfers.

For trying the task out, for tests and for speed. It is a simulation: a hidden severity drives the
signs and the events alike, so what a model reaches on it tells nothing of any real ward.

Each hour the severity of a patient moves towards its mean (AR(1)); some deteriorate over hours,
some suddenly. Rounds come every four to eight hours, oftener in who is worse; signs are left out,
and a few are written in another unit or cannot be true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehr_fhir import news2
from ehr_models.ward.tables import MEASUREMENTS, PEOPLE, SCALES, STAYS, WardTables

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_HOUR_MS, _YEAR_MS = 3_600_000, 31_557_600_000
_FIRST_DAY_MS = 1_735_689_600_000  # 2025-01-01
_LONGEST_HOURS = 14 * 24
_PROVIDERS = ("sim-hospital-1", "sim-hospital-2", "sim-hospital-3")
# Mean, spread between patients, noise of one reading, shift by one unit of severity.
_SIGNS = {
    news2.RESPIRATION: (16.0, 1.5, 1.8, 1.9),
    news2.SATURATION: (97.0, 1.2, 1.2, -1.2),
    news2.SYSTOLIC: (128.0, 16.0, 9.0, -6.0),
    news2.PULSE: (78.0, 9.0, 7.0, 8.0),
    news2.TEMPERATURE: (36.7, 0.2, 0.3, 0.25),
}
_RESULTS = {
    "sodium": (138.0, 3.0, 1.0, -0.5),
    "potassium": (4.1, 0.3, 0.2, 0.1),
    "creatinine": (85.0, 25.0, 6.0, 9.0),
    "urea": (6.0, 2.0, 0.5, 0.9),
    "haemoglobin": (12.5, 1.6, 0.3, -0.15),
    "leucocytes": (8.0, 2.0, 0.8, 1.0),
    "platelets": (250.0, 60.0, 15.0, -6.0),
    "c_reactive_protein": (20.0, 15.0, 6.0, 22.0),
    "albumin": (36.0, 4.0, 1.0, -1.0),
}
_LEFT_OUT, _UNUSABLE = 0.02, 0.002


@dataclass(frozen=True)
class _Patients:
    """What stays the same of each patient; arrays of one length."""

    age: Floats
    female: Bools
    mean: Floats
    start_ms: npt.NDArray[np.int64]
    baselines: dict[str, Floats]


def simulate_ward(stays: int, seed: int) -> WardTables:
    """Return the tables of some stays, one for each person; the same seed gives the same tables."""
    random = np.random.default_rng(seed)
    patients = _draw_patients(random, stays)
    measured: list[dict[str, Any]] = []
    severity = patients.mean + random.normal(0, 0.8, stays)
    ramp = np.zeros(stays)
    left_ms = np.full(stays, -1, dtype=np.int64)
    event_ms = np.full(stays, -1, dtype=np.int64)
    next_round = random.uniform(0, 2, stays)
    next_blood = random.uniform(1, 8, stays)
    for hour in range(_LONGEST_HOURS):
        present = (left_ms < 0) & (event_ms < 0)
        if not present.any():
            break
        # Who begins to deteriorate does so over hours, until treated or transferred.
        begins = (
            present & (ramp == 0) & (random.random(stays) < 0.0011 * np.exp(0.5 * patients.mean))
        )
        ramp = np.where(begins, random.uniform(0.08, 0.4, stays), ramp)
        ramp = np.where((ramp > 0) & (random.random(stays) < 0.05), 0.0, ramp)
        pull = 0.03 * (patients.mean - severity)
        severity = severity + pull + ramp + random.normal(0, 0.18, stays)
        now_ms = patients.start_ms + hour * _HOUR_MS
        due = present & (hour >= next_round)
        measured += _measure_signs(random, patients, severity, now_ms, due)
        pause = np.where(severity > 2, random.uniform(1, 3, stays), random.uniform(4, 8, stays))
        next_round = np.where(due, hour + pause, next_round)
        bled = present & (hour >= next_blood)
        measured += _measure_results(random, patients, severity, now_ms, bled)
        next_blood = np.where(bled, hour + random.uniform(16, 30, stays), next_blood)
        minute = (random.random(stays) * 0.9 * _HOUR_MS).astype(np.int64)
        hazard = np.exp(-10.2 + 1.25 * severity + 0.015 * (patients.age - 65))
        event = present & (random.random(stays) < hazard)
        event_ms = np.where(event, now_ms + minute, event_ms)
        goes = present & ~event & (hour > 18) & (severity < 1) & (random.random(stays) < 0.011)
        left_ms = np.where(goes, now_ms + minute, left_ms)
    left_ms = np.where(left_ms < 0, patients.start_ms + _LONGEST_HOURS * _HOUR_MS, left_ms)
    return _build_tables(random, patients, event_ms, left_ms, measured)


def _draw_patients(random: np.random.Generator, stays: int) -> _Patients:
    age = np.clip(random.normal(68, 16, stays), 18, 100)
    spread = {name: row[:2] for name, row in (_SIGNS | _RESULTS).items()}
    baselines = {name: random.normal(mean, sd, stays) for name, (mean, sd) in spread.items()}
    baselines[news2.SYSTOLIC] += 0.3 * (age - 68)
    baselines["creatinine"] += np.clip(age - 60, 0, None)
    start = _FIRST_DAY_MS + (random.random(stays) * _YEAR_MS).astype(np.int64)
    mean = random.normal(0, 0.6, stays) + 0.01 * (age - 68)
    return _Patients(age, random.random(stays) < 0.48, mean, start, baselines)


def _read(
    random: np.random.Generator, name: str, patients: _Patients, severity: Floats, rows: Any
) -> Floats:
    _, _, noise, shift = (_SIGNS | _RESULTS)[name]
    worse = np.clip(severity[rows], -1, 6)
    value = patients.baselines[name][rows] + shift * worse + random.normal(0, noise, len(rows))
    if name == news2.SATURATION:
        value = np.clip(value, 60, 100)
    decimals = 0 if name in (*_SIGNS, "platelets", "creatinine") else 1
    decimals = 1 if name == news2.TEMPERATURE else decimals
    rounded: Floats = np.round(np.clip(value, 0.5, None), decimals)
    return rounded


def _measure_signs(
    random: np.random.Generator, patients: _Patients, severity: Floats, now_ms: Any, due: Bools
) -> list[dict[str, Any]]:
    rows = np.flatnonzero(due)
    at = now_ms[rows] + (random.random(len(rows)) * 0.2 * _HOUR_MS).astype(np.int64)
    found = [
        _make_rows(random, rows, name, at, at, _read(random, name, patients, severity, rows))
        for name in _SIGNS
    ]
    oxygen = (random.random(len(rows)) < 1 / (1 + np.exp(2.2 - 1.1 * severity[rows]))).astype(float)
    confused = random.random(len(rows)) < 1 / (1 + np.exp(5.5 - 1.1 * severity[rows]))
    found.append(_make_rows(random, rows, news2.OXYGEN, at, at, oxygen))
    found.append(_make_rows(random, rows, news2.CONSCIOUSNESS, at, at, confused.astype(float)))
    return found


def _measure_results(
    random: np.random.Generator, patients: _Patients, severity: Floats, now_ms: Any, bled: Bools
) -> list[dict[str, Any]]:
    rows = np.flatnonzero(bled)
    at = now_ms[rows]
    # The laboratory answers an hour or more later.
    known = at + ((1 + 2 * random.random(len(rows))) * _HOUR_MS).astype(np.int64)
    return [
        _make_rows(random, rows, name, at, known, _read(random, name, patients, severity, rows))
        for name in _RESULTS
    ]


def _make_rows(
    random: np.random.Generator, rows: Any, name: str, at: Any, known: Any, value: Floats
) -> dict[str, Any]:
    kept = random.random(len(rows)) >= _LEFT_OUT
    unusable = random.random(len(rows)) < _UNUSABLE
    reason = np.where(random.random(len(rows)) < 0.5, news2.WRONG_UNIT, news2.IMPOSSIBLE)
    return {
        "patient": rows[kept],
        "name": name,
        "at_ms": at[kept],
        "known_ms": known[kept],
        "value": np.where(unusable, np.nan, value)[kept],
        "reason": np.where(unusable, reason, "")[kept],
    }


def _build_tables(
    random: np.random.Generator, patients: _Patients, event_ms: Any, left_ms: Any, measured: Any
) -> WardTables:
    count = len(patients.age)
    names = np.array([f"sim-{number}" for number in range(count)])
    has_event = event_ms >= 0
    # The older, the more of them die on the ward in place of a transfer.
    dies = has_event & (random.random(count) < 1 / (1 + np.exp(-(patients.age - 80) / 8)))
    people = {
        "patient_id": names,
        "born_ms": patients.start_ms - (patients.age * _YEAR_MS).astype(np.int64),
        "sex": np.where(patients.female, "female", "male"),
        "died_ms": pa.array(event_ms, mask=~dies),
    }
    provider = np.array(_PROVIDERS)[random.integers(0, len(_PROVIDERS), count)]
    ended = np.where(has_event, event_ms, left_ms)
    ward = {
        "encounter_id": np.char.add(names, "-ward"),
        "patient_id": names,
        "provider": provider,
        "started_ms": patients.start_ms,
        "ended_ms": ended,
        "is_intensive": np.zeros(count, dtype=bool),
        "died": dies,
    }
    moved = has_event & ~dies
    intensive = {
        "encounter_id": np.char.add(names[moved], "-icu"),
        "patient_id": names[moved],
        "provider": provider[moved],
        "started_ms": event_ms[moved],
        "ended_ms": event_ms[moved] + 72 * _HOUR_MS,
        "is_intensive": np.ones(moved.sum(), dtype=bool),
        "died": np.zeros(moved.sum(), dtype=bool),
    }
    # On 3 % a clinician has set the target of 88 to 92 %.
    on_scale_2 = random.random(count) < 0.03
    scales = {
        "patient_id": names[on_scale_2],
        "at_ms": patients.start_ms[on_scale_2],
        "scale_2": np.ones(on_scale_2.sum(), dtype=bool),
    }
    rows = {
        "patient_id": names[np.concatenate([part["patient"] for part in measured])],
        "name": np.concatenate([np.full(len(p["patient"]), p["name"]) for p in measured]),
        "at_ms": np.concatenate([part["at_ms"] for part in measured]),
        "known_ms": np.concatenate([part["known_ms"] for part in measured]),
        "value": _nullable(np.concatenate([part["value"] for part in measured])),
        "reason": _nullable_text(np.concatenate([part["reason"] for part in measured])),
    }
    stays = [pa.Table.from_pydict(part, STAYS) for part in (ward, intensive)]
    return WardTables(
        pa.Table.from_pydict(people, PEOPLE),
        pa.concat_tables(stays),
        pa.Table.from_pydict(rows, MEASUREMENTS),
        pa.Table.from_pydict(scales, SCALES),
    )


def _nullable(values: Floats) -> Any:
    return pa.array(values, mask=np.isnan(values))


def _nullable_text(values: Any) -> Any:
    return pa.array(values, mask=values == "")
