"""A lake with OMOP tables made without Spark, and a made-up vocabulary in Athena's format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from ehr_etl.lake import TABLES, Lake
from ehr_etl.omop.cdm import load_cdm, table_name
from ehr_etl.omop.state import OmopState, load_state, save_state
from ehr_etl.omop.writer import OmopWriter, create_omop_tables
from ehr_etl.rebuild.omop import rebuild_omop
from ehr_etl.tables.bucketed import Layout, create_tables
from ehr_privacy.consent import record_facts
from ehr_privacy.deid import Deidentifier, load_rules, pseudonym
from tests.lib.lake_input import KEY, NOW_MS

Row = dict[str, Any]
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
# No code of SNOMED CT, LOINC or RxNorm is in here: all of them are made up, in their form.
CONCEPTS = (
    # id, name, domain, vocabulary, class, standard, code, invalid
    (1001, "Made-up disease", "Condition", "SNOMED", "Disorder", "S", "900001007", ""),
    (1002, "A kind of it", "Condition", "SNOMED", "Disorder", "S", "900002000", ""),
    (1003, "A state, no disease", "Observation", "SNOMED", "Context", "S", "900003005", ""),
    (1004, "Withdrawn disease", "Condition", "SNOMED", "Disorder", "", "900004004", "D"),
    (1005, "Its history, as a value", "Observation", "SNOMED", "Context", "S", "900005003", ""),
    (1006, "Made-up procedure", "Procedure", "SNOMED", "Procedure", "S", "900006002", ""),
    (1101, "Classified disease", "Condition", "ICD10", "ICD10 code", "", "Z00", ""),
    (1102, "Two diseases in one", "Condition", "ICD10", "ICD10 code", "", "Z01", ""),
    (1103, "History of the disease", "Observation", "ICD10", "ICD10 code", "", "Z02", ""),
    (2001, "Made-up tablet", "Drug", "RxNorm", "Clinical Drug", "S", "2999901", ""),
    (2002, "Made-up ingredient", "Drug", "RxNorm", "Ingredient", "S", "2999902", ""),
    (3001, "Made-up laboratory test", "Measurement", "LOINC", "Lab Test", "S", "99901-1", ""),
    (8507, "MALE", "Gender", "Gender", "Gender", "S", "M", ""),
    (8532, "FEMALE", "Gender", "Gender", "Gender", "S", "F", ""),
    (9201, "Inpatient Visit", "Visit", "Visit", "Visit", "S", "IP", ""),
    (8753, "millimole per liter", "Unit", "UCUM", "Unit", "S", "mmol/L", ""),
)
RELATIONSHIPS = (
    *((number, number, "Maps to") for number, *_, standard, _, _ in CONCEPTS if standard == "S"),
    (1101, 1001, "Maps to"), (1102, 1001, "Maps to"), (1102, 1003, "Maps to"),
    (1103, 1005, "Maps to"), (1103, 1001, "Maps to value"),
)  # fmt: skip
ANCESTORS = ((1001, 1002), (2002, 2001), (1001, 1001), (2002, 2002))
DAY = "20200101", "20991231"


def write_athena_folder(folder: Path, *, without: Iterable[int] = (), release: str = "v1") -> Path:
    """Write a vocabulary as Athena packs it: tab-separated, no quotes, dates as eight digits."""
    folder.mkdir(parents=True, exist_ok=True)
    gone = set(without)
    rows: dict[str, list[tuple[Any, ...]]] = {
        "concept": [
            (number, name, domain, vocabulary, kind, standard, code, *DAY, invalid)
            for number, name, domain, vocabulary, kind, standard, code, invalid in CONCEPTS
            if number not in gone
        ],
        "concept_relationship": [
            (one, other, kind, *DAY, "") for one, other, kind in RELATIONSHIPS
        ],
        "concept_ancestor": [(one, other, 0, 1) for one, other in ANCESTORS],
        "vocabulary": [("None", "OMOP Standardized Vocabularies", "", release, 44819096)],
    }
    for name, listed in rows.items():
        header = "\t".join(field.name for field in load_cdm()[name])
        lines = ["\t".join(map(str, row)) for row in listed]
        (folder / f"{name.upper()}.csv").write_text("\n".join([header, *lines]) + "\n", "utf-8")
    return folder


@dataclass
class OmopLake:
    """A lake whose deid is written by hand, and its OMOP tables."""

    lake: Lake
    buckets: int = 4
    resources: dict[tuple[str, str], Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        create_tables(self.lake)
        create_omop_tables(self.lake)
        if load_state(self.lake) is None:
            save_state(self.lake, OmopState())
        self._deidentifier = Deidentifier(load_rules(), KEY)
        self.layout = Layout(self.buckets, KEY)

    def put(self, *resources: Mapping[str, Any]) -> None:
        """Write records to deid, without telling the OMOP tables."""
        for resource in resources:
            self.resources[resource["resourceType"], resource["id"]] = dict(resource)
        self._write_deid()

    def delete(self, resource_type: str, resource_id: str) -> None:
        """Take a record out of deid."""
        del self.resources[resource_type, resource_id]
        self._write_deid()

    def deid_rows(self) -> list[Row]:
        """Return the rows of deid."""
        rows = []
        for (kind, identifier), resource in self.resources.items():
            kept = self._deidentifier.scrub(resource)
            if kept is None:
                continue
            patients = record_facts(resource, "ha-harbour").patients
            patient = min(patients) if len(patients) == 1 else None
            rows.append(
                {
                    "bucket": self.layout.record_place(patients, kind, identifier),
                    "type": kind,
                    "id": kept["id"],
                    "patient": patient and pseudonym(KEY, f"Patient/{patient}"),
                    "resource": json.dumps(kept),
                }
            )
        return rows

    def _write_deid(self) -> None:
        rows = pa.Table.from_pylist(self.deid_rows(), schema=TABLES["deid"].schema)
        write_deltalake(str(self.lake.table_path("deid")), rows, mode="overwrite")

    def follow(self, *changed: tuple[str, str]) -> OmopWriter:
        """Let the OMOP tables follow changes of some records, as a batch does."""
        names = {(kind, pseudonym(KEY, f"{kind}/{identifier}")) for kind, identifier in changed}
        records = pa.Table.from_pylist(
            [row for row in self.deid_rows() if (row["type"], row["id"]) in names],
            schema=TABLES["deid"].schema,
        )
        # Every bucket may be where a record was before.
        removed = {kind: {bucket: {name} for bucket in range(self.buckets)} for kind, name in names}
        writer = self.writer()
        writer.apply(removed, records)
        return writer

    def writer(self) -> OmopWriter:
        """Return a writer of the OMOP tables."""
        state = load_state(self.lake)
        assert state is not None
        return OmopWriter(self.lake, self.layout, state, NOW_MS)

    def rebuild(self) -> None:
        """Make the OMOP tables anew."""
        writer = self.writer()
        rebuild_omop(map, 1, self.lake, self.layout, writer.state, NOW_MS)

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table without the lake's own columns."""
        return read_rows(self.lake, table)


def read_rows(lake: Lake, table: str) -> list[Row]:
    """Return the rows of a table of the CDM, or of one beside it, without the lake's columns."""
    found = lake.open_table(table_name(table)).to_pyarrow_table()
    return list(pa.table(found).drop_columns(["_bucket", "_key"]).to_pylist())


def sorted_rows(lake: Lake, table: str) -> list[str]:
    """Return the rows of a table as text, in one order."""
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in read_rows(lake, table))


def coding(system: str, code: str, **more: Any) -> Row:
    """Return a CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": code, **more}]}


def hospital() -> list[Row]:
    """Return two people with one record and more of every type that has rows."""
    stay = {"reference": "Encounter/e1"}
    person = {"reference": "Patient/p1"}
    return [
        {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1956-03-04",
         "deceasedDateTime": "2026-03-20", "address": [{"district": "Yau Tsim Mong"}],
         "name": [{"family": "CHAN"}],
         "identifier": [{"system": "https://www.immd.gov.hk/hkid", "value": "A123456(3)"}]},
        {"resourceType": "Patient", "id": "p2", "gender": "other", "birthDate": "1990-01-01"},
        {"resourceType": "Organization", "id": "o1", "active": True},
        {"resourceType": "Practitioner", "id": "d1", "active": True},
        {"resourceType": "Medication", "id": "m1", "code": coding(RXNORM, "2999901")},
        {"resourceType": "Encounter", "id": "e1", "status": "finished",
         "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
         "subject": person, "serviceProvider": {"reference": "Organization/o1"},
         "participant": [{"individual": {"reference": "Practitioner/d1"}}],
         "period": {"start": "2026-03-01T23:30:00Z", "end": "2026-03-04T09:00:00+08:00"}},
        {"resourceType": "Encounter", "id": "e2", "status": "finished",
         "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
         "subject": person, "partOf": stay, "period": {"start": "2026-03-02"}},
        {"resourceType": "Condition", "id": "c1", "subject": person, "encounter": stay,
         "code": coding(SNOMED, "900001007"), "onsetDateTime": "2026-03-01T09:00:00+08:00",
         "category": [coding("http://terminology.hl7.org/CodeSystem/condition-category",
                             "encounter-diagnosis")]},
        {"resourceType": "Condition", "id": "c2", "subject": {"reference": "Patient/p2"},
         "code": coding(ICD10, "Z01"), "onsetDateTime": "2026-04-01"},
        {"resourceType": "MedicationRequest", "id": "r1", "status": "completed",
         "intent": "order", "subject": person, "encounter": {"reference": "Encounter/e2"},
         "medicationReference": {"reference": "Medication/m1"}, "authoredOn": "2026-03-02",
         "dispenseRequest": {
             "quantity": {"value": 20, "system": "http://unitsofmeasure.org", "code": "1"},
             "expectedSupplyDuration": {"value": 10, "system": "http://unitsofmeasure.org",
                                        "code": "d"}}},
        {"resourceType": "Procedure", "id": "o1", "status": "completed", "subject": person,
         "code": coding(SNOMED, "900006002"), "performedDateTime": "2026-03-03T08:00:00+08:00",
         "encounter": stay},
        {"resourceType": "Observation", "id": "l1", "status": "final", "subject": person,
         "encounter": stay, "code": coding(LOINC, "99901-1"),
         "category": [coding("http://terminology.hl7.org/CodeSystem/observation-category",
                             "laboratory")],
         "effectiveDateTime": "2026-03-02T08:00:00+08:00",
         "valueQuantity": {"value": 5.4, "comparator": "<", "system": "http://unitsofmeasure.org",
                           "code": "mmol/L"}},
        {"resourceType": "Observation", "id": "b1", "status": "final", "subject": person,
         "code": coding(LOINC, "85354-9"), "effectiveDateTime": "2026-03-02",
         "category": [coding("http://terminology.hl7.org/CodeSystem/observation-category",
                             "vital-signs")],
         "component": [
             {"code": coding(LOINC, "8480-6"), "valueQuantity": {"value": 120, "code": "mm[Hg]",
              "system": "http://unitsofmeasure.org"}},
             {"code": coding(LOINC, "8462-4"), "valueQuantity": {"value": 80, "code": "mm[Hg]",
              "system": "http://unitsofmeasure.org"}}]},
        {"resourceType": "AllergyIntolerance", "id": "a1", "patient": person,
         "code": coding(SNOMED, "900003005"), "encounter": stay},
        {"resourceType": "SupplyDelivery", "id": "s1", "status": "completed", "patient": person,
         "occurrenceDateTime": "2026-03-02", "suppliedItem": {
             "quantity": {"value": 2, "system": "http://unitsofmeasure.org", "code": "1"},
             "itemCodeableConcept": coding(SNOMED, "900009009")}},
    ]  # fmt: skip
