"""Rows that follow from other rows of a person: observation period and eras."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from ehr_etl.omop.eras import Span, join_spans
from ehr_etl.omop.identifiers import integer_key
from ehr_etl.omop.person_rows import PersonRows
from ehr_etl.omop.vocabulary import Vocabulary

__all__ = ["add_eras", "add_observation_period"]

# Type concept "Standard algorithm from EHR": a row that is derived from others.
STANDARD_ALGORITHM = 32882


def add_observation_period(person_rows: PersonRows) -> None:
    """Add the period from the first to the last event."""
    if person_rows.days:
        key = integer_key("observation_period", str(person_rows.person))
        person_rows.add(
            "observation_period",
            {"observation_period_id": key,
             "person_id": person_rows.person,
             "observation_period_start_date": min(person_rows.days),
             "observation_period_end_date": max(person_rows.days),
             "period_type_concept_id": STANDARD_ALGORITHM},
        )  # fmt: skip


def add_eras(person_rows: PersonRows, vocabulary: Vocabulary) -> None:
    """Add eras of conditions by concept, and of drugs by ingredient."""
    conditions: dict[int, list[Span]] = defaultdict(list)
    for row in person_rows.rows.get("condition_occurrence", ()):
        start = row["condition_start_date"]
        end = row["condition_end_date"] or start + timedelta(days=1)
        conditions[row["condition_concept_id"]].append(Span(start, max(start, end)))
    drugs: dict[int, list[Span]] = defaultdict(list)
    for row in person_rows.rows.get("drug_exposure", ()):
        start, end = row["drug_exposure_start_date"], row["drug_exposure_end_date"]
        for ingredient in vocabulary.find_ingredients(row["drug_concept_id"]):
            drugs[ingredient].append(Span(start, max(start, end)))
    for name, spans, counted in (
        ("condition", conditions, "condition_occurrence_count"),
        ("drug", drugs, "drug_exposure_count"),
    ):
        for concept in sorted(spans.keys() - {0}):
            for era in join_spans(spans[concept]):
                key = f"{person_rows.person}/{concept}/{era.start}"
                row = {f"{name}_era_id": integer_key(f"{name}_era", key),
                       "person_id": person_rows.person, f"{name}_concept_id": concept,
                       f"{name}_era_start_date": era.start,
                       f"{name}_era_end_date": era.end, counted: era.count}  # fmt: skip
                if name == "drug":
                    row["gap_days"] = era.gap_days
                person_rows.add(f"{name}_era", row)
