"""A task's file: `task.toml` of its folder, in the cohort language, with the words beside it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Set
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from importlib.resources.abc import Traversable
from typing import Any

from ehr_analytics.cohorts.checks import check_cohort
from ehr_analytics.cohorts.conditions import IsRecorded, Not
from ehr_analytics.cohorts.definition import Cohort, Events
from ehr_analytics.cohorts.sources import ValueType
from ehr_analytics.cohorts.toml_text import parse_cohort
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_fhir.fhirpath import parse_unit
from ehr_models.comparators import COMPARATORS
from ehr_models.frames.codes import CodeGroup
from ehr_models.frames.declaration import IN_PROGRESS, DeclaredFeature, FrameDeclaration
from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.frames.measurements import Measurement
from ehr_models.frames.person import find_current
from ehr_models.gate_limits import GateLimits
from ehr_models.learners.tuning import LEARNERS, USUAL_LEARNERS
from ehr_models.task import GROUP_PREFIX, Comparator, Feature, Outcome, Task

__all__ = ["load_task", "parse_declaration", "parse_task", "read_document"]

Table = Mapping[str, Any]  # Any: TOML's values, each checked where it is read
_COHORT_KEYS = ("name", "title", "model", "population", "events", "index", "include", "exclude")
_OWN_KEYS = frozenset(
    {"outcome", "feature", "group", "comparators", "gates", "learners", "codes", "measurement"}
)
_MEASUREMENT_KEYS = {
    *("name", "title", "unit", "events", "codes", "code", "value", "value_unit", "days"),
    "molar_mass",
}
_REQUIRED: Any = object()
_LOINC = re.compile(r"[0-9]{1,7}-[0-9]", re.ASCII)


def load_task(folder: Traversable) -> Task:
    """Read the task of a folder: `task.toml`, and `card.md` with its words.

    Unprocessable names the key that is wrong.
    """
    try:
        card = (folder / "card.md").read_text("utf-8")
    except OSError as error:
        raise NotFound(f"The task {folder.name} has no card.md.") from error
    return parse_task(read_document(folder), card)


def read_document(folder: Traversable) -> Table:
    """Return `task.toml` of a folder as a document."""
    try:
        return tomllib.loads((folder / "task.toml").read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise NotFound(f"The task {folder.name} has no task.toml.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unprocessable(f"task.toml of {folder.name} is not TOML: {error}.") from error


def parse_task(document: Table, card: str) -> Task:
    """Return the task of a parsed TOML document."""
    declaration = parse_declaration(document)
    outcome = document["outcome"]
    return Task(
        name=declaration.cohort.name,
        title=declaration.cohort.title,
        views=tuple(declaration.columns),
        target=declaration.target,
        outcome=Outcome(
            code=_read(outcome, "code", str, "outcome"),
            text=_read(outcome, "text", str, "outcome"),
            horizon=timedelta(days=_read(outcome, "days", int, "outcome")),
            plural=_read(outcome, "plural", str, "outcome"),
            phrase=_read(outcome, "phrase", str, "outcome"),
        ),
        learners=_parse_learners(document),
        comparators=_parse_comparators(document, declaration),
        gates=_parse_gates(document),
        build_frame=partial(build_frame, declaration),
        build_recent_frame=partial(build_frame, declaration),
        find_current=partial(find_current, declaration),
        card_text=card,
        feature_names=tuple(feature.name for feature in declaration.own_features),
    )


def parse_declaration(document: Table) -> FrameDeclaration:
    """Return the frame's declaration, checked against the tables that it reads."""
    _require_keys(document, _OWN_KEYS | {*_COHORT_KEYS}, "the task")
    outcome = _read(document, "outcome", dict, "the task")
    known = {"name", "events", "from_days", "days", "code", "text", "plural", "phrase"}
    _require_keys(outcome, known, "outcome")
    columns: list[dict[str, Any]] = []
    features = []
    for table in _read(document, "feature", list, "the task"):
        feature, made = _parse_feature(table)
        features.append(feature)
        columns += made
    groups = []
    for table in _read(document, "group", list, "the task", []):
        name = GROUP_PREFIX + _read(table, "name", str, "group")
        # As it is, with all its values, where nothing else is said.
        shown = {} if {"bands", "values"} & table.keys() else {"top": 50}
        columns.append({**table, **shown, "name": name})
        groups.append(name)
    follow_up = {
        "days": _read(outcome, "days", int, "outcome"),
        "data_until": "latest",
        "whole": True,
        "outcome": [
            {key: outcome[key] for key in ("name", "events", "from_days") if key in outcome}
        ],
    }
    cohort = parse_cohort(
        {
            **{key: document[key] for key in _COHORT_KEYS if key in document},
            "column": columns,
            "follow_up": follow_up,
        }
    )
    codes = _parse_codes(document, {events.name for events in cohort.events})
    measurements = _parse_measurements(document, {events.name for events in cohort.events})
    names = [declared.feature.name for declared in features]
    names += [measurement.feature.name for measurement in measurements]
    if len({*names}) < len(names):
        raise Unprocessable("Two features have the same name.")
    declaration = FrameDeclaration(
        _add_columns(cohort, codes, measurements),
        tuple(features),
        tuple(groups),
        codes,
        measurements,
    )
    check_cohort(declaration.cohort, declaration.sources)
    _check_codes(declaration)
    return declaration


def _add_columns(
    cohort: Cohort, codes: tuple[CodeGroup, ...], measurements: tuple[Measurement, ...]
) -> Cohort:
    """Return the cohort, point in time, with the ids of its index events and all codes."""
    names = {events.name for events in cohort.events}
    if cohort.index.events not in names:
        raise Unprocessable(f"index reads the events {cohort.index.events}, which are not there.")
    further: dict[str, list[str]] = {cohort.base_events(cohort.index.events).name: ["id"]}
    for group in codes:
        columns = further.setdefault(cohort.base_events(group.events).name, [])
        columns += [name for name in (group.column, group.system) if name is not None]
    for one in measurements:
        columns = further.setdefault(cohort.base_events(one.events).name, [])
        columns += [one.code_column, one.value_column, one.unit_column]
    events = tuple(
        replace(one, further=tuple(dict.fromkeys(further.get(one.name, ()))))
        for one in cohort.events
    )
    base = cohort.base_events(cohort.index.events)
    if base.end is not None and IN_PROGRESS not in names:
        is_open = Not(IsRecorded(base.end))
        where = (*base.where, is_open)
        events += (Events(IN_PROGRESS, table=base.table, date=base.date, where=where),)
    return replace(cohort, events=events, point_in_time=True)


def _parse_codes(document: Table, events: Set[str]) -> tuple[CodeGroup, ...]:
    groups: list[CodeGroup] = []
    for table in _read(document, "codes", list, "the task", []):
        name = _read(table, "name", str, "codes")
        place = f"codes {name}"
        known = {"name", "title", "events", "column", "system", "days", "at_least", "most"}
        _require_keys(table, known, place)
        if not name.isidentifier() or name in {group.name for group in groups}:
            raise Unprocessable(f"{place} needs a name of its own, of letters and digits.")
        group = CodeGroup(
            name=name,
            title=_read(table, "title", str, place),
            events=_read(table, "events", str, place),
            column=_read(table, "column", str, place),
            system=_read(table, "system", str, place, None),
            days=_read(table, "days", int, place, 365),
            at_least=_read(table, "at_least", int, place, 20),
            most=_read(table, "most", int, place, 100),
        )
        if group.events not in events:
            raise Unprocessable(f"{place} reads the events {group.events}, which are not there.")
        if min(group.days, group.at_least, group.most) < 1:
            raise Unprocessable(f"{place} has `days`, `at_least` or `most` below 1.")
        groups.append(group)
    return tuple(groups)


def _check_codes(declaration: FrameDeclaration) -> None:
    for group in declaration.codes:
        table = declaration.cohort.base_events(group.events).table or ""
        types = declaration.sources[table].columns
        for key, column in (("column", group.column), ("system", group.system)):
            kind = types.get(column, ValueType.KEY) if column is not None else ValueType.TEXT
            if kind not in (ValueType.CODE, ValueType.TEXT, ValueType.CONCEPT):
                raise Unprocessable(
                    f"codes {group.name}: its {key} {column} is no code of {table}."
                )


def _parse_feature(table: Table) -> tuple[DeclaredFeature, list[dict[str, Any]]]:
    """Return a feature, and the cohort's columns that it is made of."""
    name = _read(table, "name", str, "feature")
    place = f"feature {name}"
    own = {"name", "title", "unit", "first_of", "least", "most", "required"}
    measures = _read(table, "first_of", list, place, None)
    if measures is None:
        measures = [{key: value for key, value in table.items() if key not in own}]
    else:
        _require_keys(table, own, place)
    names = [name, *(f"{name}__{number}" for number in range(2, len(measures) + 1))]
    columns = [{**measure, "name": made} for measure, made in zip(measures, names, strict=True)]
    sources = (str(measure.get("events", measure.get("kind"))) for measure in measures)
    feature = Feature(
        name=name,
        title=_read(table, "title", str, place),
        unit=_read(table, "unit", str, place, "1"),
        source=", ".join(dict.fromkeys(sources)),
    )
    least, most = (_read(table, key, (int, Decimal), place, None) for key in ("least", "most"))
    declared = DeclaredFeature(
        feature,
        tuple(names),
        least=None if least is None else float(least),
        most=None if most is None else float(most),
        is_required=_read(table, "required", bool, place, False),
    )
    return declared, columns


def _parse_measurements(document: Table, events: Set[str]) -> tuple[Measurement, ...]:
    measurements = []
    for table in _read(document, "measurement", list, "the task", []):
        name = _read(table, "name", str, "measurement")
        place = f"measurement {name}"
        _require_keys(table, _MEASUREMENT_KEYS, place)
        codes = _read(table, "codes", list, place)
        if not codes or not all(isinstance(c, str) and _LOINC.fullmatch(c) for c in codes):
            raise Unprocessable(f"{place} has `codes` that are none of LOINC.")
        unit = _read(table, "unit", str, place)
        if parse_unit(unit) is None:
            raise Unprocessable(f"{place} has a `unit` that UCUM does not know.")
        measurement = Measurement(
            Feature(name, _read(table, "title", str, place), unit, table.get("events", "")),
            events=_read(table, "events", str, place),
            codes=tuple(codes),
            code_column=_read(table, "code", str, place, "code_code"),
            value_column=_read(table, "value", str, place, "value_number"),
            unit_column=_read(table, "value_unit", str, place, "value_unit"),
            days=_read(table, "days", int, place, 365),
            molar_mass=_read_molar_mass(table, place),
        )
        if measurement.events not in events:
            raise Unprocessable(
                f"{place} reads the events {measurement.events}, which are not there."
            )
        measurements.append(measurement)
    return tuple(measurements)


def _read_molar_mass(table: Table, place: str) -> float | None:
    mass = _read(table, "molar_mass", (int, Decimal), place, None)
    if mass is None:
        return None
    if not 0 < mass < math.inf:
        raise Unprocessable(f"{place} has a `molar_mass` that is no number of g/mol.")
    return float(mass)


def _parse_comparators(document: Table, declaration: FrameDeclaration) -> tuple[Comparator, ...]:
    comparators = []
    features = {feature.name for feature in declaration.own_features}
    for name in _read(document, "comparators", list, "the task", []):
        if name not in COMPARATORS:
            raise Unprocessable(f"comparators names {name!r}: there are {', '.join(COMPARATORS)}.")
        comparator, needed = COMPARATORS[name]
        missing = sorted({*needed} - features)
        if missing:
            raise Unprocessable(f"comparators: {name} needs the feature {', '.join(missing)}.")
        comparators.append(comparator)
    return tuple(comparators)


def _parse_gates(document: Table) -> GateLimits:
    """Return the limits that `[gates]` sets, and those that hold without it."""
    gates = _read(document, "gates", dict, "the task", {})
    usual = GateLimits()
    _require_keys(gates, {*vars(usual)}, "gates")
    number = (int, Decimal)
    slope = _read(gates, "slope", list, "gates", list(usual.slope))
    if len(slope) != 2 or not all(type(each) in (*number, float) for each in slope):
        raise Unprocessable("gates has a `slope` that is not two numbers.")
    limits = GateLimits(
        minimum_outcomes=_read(gates, "minimum_outcomes", int, "gates", usual.minimum_outcomes),
        slope=(float(slope[0]), float(slope[1])),
        **{
            key: float(_read(gates, key, number, "gates", getattr(usual, key)))
            for key in ("in_the_large", "subgroup_auroc", "membership_auroc", "leakage_auroc")
        },
    )
    ranges = {
        "minimum_outcomes": limits.minimum_outcomes >= 1,
        "slope": 0 < limits.slope[0] <= 1 <= limits.slope[1],
        "in_the_large": limits.in_the_large > 0,
        "subgroup_auroc": 0.5 <= limits.subgroup_auroc <= 1,
        "membership_auroc": 0.5 <= limits.membership_auroc <= 1,
        "leakage_auroc": 0.5 <= limits.leakage_auroc <= 1,
    }
    for key, is_possible in ranges.items():
        if not is_possible:
            raise Unprocessable(f"gates has a `{key}` that no gate can have.")
    return limits


def _parse_learners(document: Table) -> tuple[str, ...]:
    names = _read(document, "learners", list, "the task", list(USUAL_LEARNERS))
    unknown = sorted({*map(str, names)} - {*LEARNERS})
    if unknown or not names:
        raise Unprocessable(f"learners names {unknown}: there are {', '.join(LEARNERS)}.")
    return tuple(names)


def _read(
    table: Table, key: str, kind: type | tuple[type, ...], place: str, default: Any = _REQUIRED
) -> Any:  # Any: a value of one of the kinds
    value = table.get(key, default)
    if value is _REQUIRED:
        raise Unprocessable(f"{place} lacks `{key}`.")
    kinds = kind if isinstance(kind, tuple) else (kind,)
    # True is an int to Python.
    if key in table and type(value) not in kinds:
        raise Unprocessable(f"{place} has a `{key}` of the wrong type.")
    return value


def _require_keys(table: Any, known: Set[str], place: str) -> None:
    # Any: TOML's value, which need not be a table
    if not isinstance(table, dict):
        raise Unprocessable(f"{place} is no table.")
    unknown = sorted(table.keys() - known)
    if unknown:
        raise Unprocessable(f"{place} has the key {', '.join(unknown)}, which is not known.")
