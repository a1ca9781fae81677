"""The CDM's rows of one person, from their records in deid: one function for a batch and a rebuild.

Every record is accounted for in `source_records`: by the rows it gave, or by the reason why it gave
none. Every concept of 0 is accounted for in `unmapped_codes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ehr_etl.omop.cdm import CONCEPT_COLUMNS
from ehr_etl.omop.derived_rows import add_eras, add_observation_period
from ehr_etl.omop.fhir_values import (
    Moment,
    find_values,
    first_value,
    list_codings,
    parse_moment,
    read_reference,
)
from ehr_etl.omop.identifiers import integer_key, person_key
from ehr_etl.omop.mappings import EventRule, load_mappings
from ehr_etl.omop.observed_values import has_value, read_observed_values
from ehr_etl.omop.person_rows import PersonRows, SourceRecord
from ehr_etl.omop.shared_records import (
    is_shared_reference,
    list_shared_targets,
    read_medication_codes,
)
from ehr_etl.omop.visits import Visit, find_top_visit
from ehr_etl.omop.vocabulary import ABSENT_CODE, Concept, MappedCode, Vocabulary

__all__ = ["PersonBuilder", "SourceRecord"]

Row = dict[str, Any]
Json = Any  # JSON of every shape

# Type concept "EHR".
_EHR = 32817
_UNMAPPED = Concept(0, "")
# Days of a FHIR duration's unit.
_DAYS = {"d": 1, "wk": 7, "mo": 30, "a": 365}


class PersonBuilder:
    """Makes the rows of persons by the mapping rules, a vocabulary and a time zone."""

    def __init__(self, vocabulary: Vocabulary, zone: ZoneInfo) -> None:
        self._vocabulary, self._zone = vocabulary, zone
        self._rules = load_mappings()

    def build(
        self,
        pseudonym: str,
        bucket: int,
        records: Iterable[SourceRecord],
        shared: Mapping[str, str],
    ) -> Mapping[str, list[Row]]:
        """Return the rows of one person by table.

        `shared` has of each record that is there and that theirs refer to what counts of it.
        """
        person_rows = PersonRows(person_key(pseudonym), bucket, shared)
        ordered = sorted(records, key=lambda record: (record.type, record.id))
        patient = next((record for record in ordered if record.type == "Patient"), None)
        for target in sorted(
            {target for record in ordered for target in list_shared_targets(record.resource)}
        ):
            person_rows.add("shared_references", {"target": target})
        reason = "no-person" if patient is None else self._add_person(person_rows, patient)
        if reason is not None:
            for record in ordered:
                person_rows.add_remark(record, reason)
            return person_rows.rows
        self._add_visits(person_rows, [record for record in ordered if record.type == "Encounter"])
        for record in ordered:
            if record.type not in ("Patient", "Encounter"):
                self._add_events(person_rows, record)
        add_observation_period(person_rows)
        add_eras(person_rows, self._vocabulary)
        return person_rows.rows

    # Person and death.

    def _add_person(self, person_rows: PersonRows, record: SourceRecord) -> str | None:
        """Add the person; return why they have no rows, as the CDM needs a year of birth."""
        rule = self._rules.events["Patient"]
        year = str(record.resource.get("birthDate", ""))[:4]
        if not year.isdigit():
            return "no-year-of-birth"
        values: Row = {"id": person_rows.person, "year_of_birth": int(year)}
        self._add_concepts(person_rows, "Person", person_rows.person, rule, record.resource, values)
        for name in ("race", "ethnicity"):
            # De-identification lets neither through.
            values[f"{name}_concept"] = 0
            person_rows.add_unmapped(
                "person", person_rows.person, f"{name}_concept_id", ABSENT_CODE
            )
        region = first_value(record.resource, ("address.state",))
        values["location"] = None if region is None else integer_key("location", str(region))
        self._add_row(person_rows, "Person", values)
        person_rows.add_source(record, "person", person_rows.person, rule.concepts["gender"].system)
        for note in rule.notes(record.resource):
            person_rows.add_remark(record, f"kept, although {note}")
        self._add_death(person_rows, record)
        return None

    def _add_death(self, person_rows: PersonRows, record: SourceRecord) -> None:
        if record.resource.get("deceasedBoolean") is True:
            person_rows.add_remark(record, "death-without-date")
        told = record.resource.get("deceasedDateTime")
        if told is None:
            return
        moment = parse_moment(told, self._zone)
        if moment is None:
            person_rows.add_remark(record, "death-with-partial-date")
            return
        person_rows.add(
            "death",
            {"person_id": person_rows.person,
             "death_date": moment.day, "death_datetime": moment.time,
             "death_type_concept_id": _EHR},
        )  # fmt: skip
        person_rows.add_source(record, "death", person_rows.person)

    # Visits.

    def _add_visits(self, person_rows: PersonRows, records: Sequence[SourceRecord]) -> None:
        rule = self._rules.events["Encounter"]
        visits: dict[str, Visit] = {}
        for record in records:
            start = self._read_start(person_rows, rule, record)
            if start is None:
                continue
            parent = _reference_id(first_value(record.resource, rule.part_of), "Encounter")
            end = self._moment(record.resource, rule.end)
            visits[record.id] = Visit(record, start, end, parent)
            person_rows.visit_starts[record.id] = start
        for name in visits:
            top = find_top_visit(name, visits)
            detail = None if top == name else integer_key("visit_detail", f"Encounter/{name}")
            person_rows.visits[name] = (integer_key("visit_occurrence", f"Encounter/{top}"), detail)
        preceding: int | None = None
        for visit in sorted(visits.values(), key=lambda item: (item.start.day, item.record.id)):
            self._add_visit(person_rows, rule, visit, visits, preceding)
            occurrence, detail = person_rows.visits[visit.record.id]
            preceding = occurrence if detail is None else preceding

    def _add_visit(
        self,
        person_rows: PersonRows,
        rule: EventRule,
        visit: Visit,
        visits: Mapping[str, Visit],
        preceding: int | None,
    ) -> None:
        record = visit.record
        occurrence, detail = person_rows.visits[record.id]
        target = "Visit" if detail is None else "VisitDetail"
        table = self._rules.targets[target].table
        key = occurrence if detail is None else detail
        code = self._choose(record.resource, rule.code, person_rows)
        values = self._common_values(person_rows, rule, record, visit.start, visit.end)
        values |= {"id": key, "visit": occurrence, "preceding_visit": preceding}
        if visit.parent in visits and person_rows.visits[str(visit.parent)][1] is not None:
            values["parent_visit_detail"] = person_rows.visits[str(visit.parent)][1]
        if visit.end is None:
            values["type"] = rule.type_of_derived_end
        values |= _code_values(code)
        person_rows.add_unmapped(table, key, CONCEPT_COLUMNS[table], code)
        self._add_concepts(person_rows, target, key, rule, record.resource, values)
        self._add_row(person_rows, target, values)
        person_rows.add_source(record, table, key, code.system)

    # Events.

    def _add_events(self, person_rows: PersonRows, record: SourceRecord) -> None:
        """Add the rows of a record of any other type."""
        rule = self._rules.events.get(record.type)
        if rule is None or rule.target:
            person_rows.add_remark(record, "type-not-mapped")
            return
        start = self._read_start(person_rows, rule, record)
        if start is None:
            return
        for note in rule.notes(record.resource):
            person_rows.add_remark(record, f"kept, although {note}")
        values = self._common_values(
            person_rows, rule, record, start, self._moment(record.resource, rule.end)
        )
        values |= self._amounts(rule, record.resource, start)
        if rule.value:
            self._add_observed(person_rows, rule, record, values)
        else:
            self._add_event(person_rows, rule, record, record.resource, values, "")

    def _add_observed(
        self, person_rows: PersonRows, rule: EventRule, record: SourceRecord, values: Row
    ) -> None:
        """Add an Observation: its own value, and each component as a row of its own."""
        resource = record.resource
        components = [item for item in resource.get("component", ()) if has_value(item)]
        if has_value(resource) or not (components or resource.get("hasMember")):
            if not has_value(resource) and "dataAbsentReason" in resource:
                person_rows.add_remark(record, "data-absent")
            else:
                self._add_event(person_rows, rule, record, resource, values, "")
        elif not components:
            person_rows.add_remark(record, "panel-without-value")
        for number, component in enumerate(resource.get("component", ())):
            if has_value(component):
                part = f"component.{number}"
                self._add_event(person_rows, rule, record, component, dict(values), part)

    def _add_event(
        self,
        person_rows: PersonRows,
        rule: EventRule,
        record: SourceRecord,
        content: Mapping[str, Json],
        values: Row,
        part: str,
    ) -> None:
        """Add one row for each standard concept of an event's code; one of 0 where it has none."""
        code = self._choose(content, rule.code, person_rows)
        default = rule.default_domain(record.resource)
        for number, concept in enumerate(code.mapping.concepts or (_UNMAPPED,)):
            domain = concept.domain or default
            target = self._rules.target_of_domain(domain)
            table = self._rules.targets[target].table
            key = integer_key(table, record.name, f"{part}#{number}" if number else part)
            row = {**values, **_code_values(code), "id": key, "concept": concept.concept_id}
            person_rows.add_unmapped(
                table, key, CONCEPT_COLUMNS[table], code, unverified=concept is _UNMAPPED
            )
            if rule.value:
                row |= read_observed_values(self._vocabulary, person_rows, table, key, content)
            if row.get("value_concept") is None and concept.value_concept_id is not None:
                row["value_concept"] = concept.value_concept_id
            self._add_concepts(person_rows, target, key, rule, record.resource, row)
            self._add_row(person_rows, target, row)
            person_rows.add_source(record, table, key, code.system)

    # What all events have.

    def _common_values(
        self,
        person_rows: PersonRows,
        rule: EventRule,
        record: SourceRecord,
        start: Moment,
        end: Moment | None,
    ) -> Row:
        resource = record.resource
        encounter = _reference_id(first_value(resource, rule.visit), "Encounter")
        visit, detail = person_rows.visits.get(str(encounter), (None, None))
        person_rows.days += [start.day, *([end.day] if end else [])]
        return {
            "person": person_rows.person,
            "start_date": start.day,
            "start_datetime": start.time,
            "end_date": end.day if end else None,
            "end_datetime": end.time if end else None,
            "end_or_start_date": end.day if end else start.day,
            "type": rule.type_concept(resource),
            "visit": visit,
            "visit_detail": detail,
            "provider": self._shared_key(person_rows, "provider", resource, rule.provider),
            "care_site": self._shared_key(person_rows, "care_site", resource, rule.care_site),
        }

    def _amounts(self, rule: EventRule, resource: Mapping[str, Json], start: Moment) -> Row:
        """Return quantity, refills and days of supply, and the end that follows from these."""
        values: Row = {"refills": first_value(resource, rule.refills)}
        quantity = first_value(resource, rule.quantity)
        if isinstance(quantity, Mapping) and isinstance(quantity.get("value"), int | float):
            amount = quantity["value"]
            values |= {"quantity": amount, "quantity_unit": quantity.get("code"),
                       "whole_quantity": int(amount) if amount % 1 == 0 else None}  # fmt: skip
        duration = first_value(resource, rule.days)
        unit = _DAYS.get(str(duration.get("code"))) if isinstance(duration, Mapping) else None
        if unit is not None and isinstance(duration.get("value"), int | float):
            days = round(duration["value"] * unit)
            values["days"] = days
            if days > 0 and self._moment(resource, rule.end) is None:
                values["end_or_start_date"] = start.day + timedelta(days=days - 1)
        return values

    def _add_concepts(
        self,
        person_rows: PersonRows,
        target: str,
        key: int,
        rule: EventRule,
        resource: Mapping[str, Json],
        values: Row,
    ) -> None:
        """Add the further coded elements of an event that its table has columns for."""
        table = self._rules.targets[target].table
        columns = self._rules.targets[target].columns_by_value
        for name, element in rule.concepts.items():
            column = columns.get(f"{name}_concept")
            if column is None:
                continue
            codings = list_codings(first_value(resource, element.paths), element.system)
            # The CDM needs the gender's concept; the others may be null where nothing is told.
            if not codings:
                values[f"{name}_concept"] = 0 if table == "person" else None
                if table == "person":
                    person_rows.add_unmapped(table, key, column, ABSENT_CODE)
                continue
            chosen = self._vocabulary.choose(codings)
            values |= chosen.element_values(name)
            person_rows.add_unmapped(table, key, column, chosen)

    def _add_row(self, person_rows: PersonRows, target: str, values: Row) -> None:
        rule = self._rules.targets[target]
        person_rows.add(
            rule.table, {name: values.get(value) for name, value in rule.columns.items()}
        )

    def _choose(
        self, content: Mapping[str, Json], paths: Sequence[str], person_rows: PersonRows
    ) -> MappedCode:
        """Return the coding of the first of some elements that has any."""
        for path in paths:
            for value in find_values(content, path):
                reference = read_reference(value)
                if is_shared_reference(reference):
                    codings = read_medication_codes(person_rows.shared.get(reference, "[]"))
                else:
                    codings = list_codings(value)
                if codings:
                    return self._vocabulary.choose(codings)
        return self._vocabulary.choose([])

    def _shared_key(
        self,
        person_rows: PersonRows,
        table: str,
        resource: Mapping[str, Json],
        paths: Sequence[str],
    ) -> int | None:
        """Return the key of the first doctor or place that a record names and that is there."""
        for path in paths:
            for value in find_values(resource, path):
                reference = read_reference(value)
                if not is_shared_reference(reference) or reference not in person_rows.shared:
                    continue
                target = self._rules.events[reference.partition("/")[0]].target
                if self._rules.targets[target].table == table:
                    return integer_key(table, reference)
        return None

    def _moment(self, resource: Mapping[str, Json], paths: Sequence[str]) -> Moment | None:
        found = (
            parse_moment(value, self._zone)
            for path in paths
            for value in find_values(resource, path)
        )
        return next((moment for moment in found if moment is not None), None)

    def _read_start(
        self, person_rows: PersonRows, rule: EventRule, record: SourceRecord
    ) -> Moment | None:
        """Return when an event began; None, and a remark, of a record that gives no row."""
        reason = rule.refusal(record.resource)
        if reason is None:
            start = self._moment(record.resource, rule.start)
            if start is None:
                # What has no date of its own is dated by the visit it belongs to.
                visit = _reference_id(first_value(record.resource, rule.visit), "Encounter")
                start = person_rows.visit_starts.get(str(visit))
            if start is not None:
                return start
            is_absent = first_value(record.resource, rule.start) is None
            reason = "no-date" if is_absent else "partial-date"
        person_rows.add_remark(record, reason)
        return None


def _reference_id(value: Json, resource_type: str) -> str | None:
    kind, _, identifier = str(read_reference(value)).partition("/")
    return identifier if kind == resource_type else None


def _code_values(code: MappedCode) -> Row:
    return {
        "concept": code.concept_id,
        "source_value": code.source_value,
        "source_concept": code.mapping.source_concept_id,
    }
