"""A worklist as `$model-worklist` answers it: people in the order of their risk. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import MultiPartParameter, parse_multi_parts, parse_values

__all__ = ["ListedReason", "ModelWorklist", "WorklistLine", "parse_worklist"]


@dataclass(frozen=True)
class ListedReason:
    """What raises somebody's score; its value is empty where it is not known."""

    text: str
    value: str


@dataclass(frozen=True)
class WorklistLine:
    """Somebody on the list; the probability is from 0 to 1."""

    patient: Resource
    probability: float
    reasons: tuple[ListedReason, ...]


@dataclass(frozen=True)
class ModelWorklist:
    """A list: what it is about in the reader's language, and by which version of the model."""

    title: str
    version: str
    lines: tuple[WorklistLine, ...]


def parse_worklist(answer: Resource) -> ModelWorklist:
    """Read the answer of `$model-worklist`."""
    values = parse_values(answer)
    return ModelWorklist(
        next(iter(values.get("title", [])), ""),
        next(iter(values.get("version", [])), ""),
        tuple(_parse_lines(parse_multi_parts(answer, "person"))),
    )


def _parse_lines(people: list[MultiPartParameter]) -> Iterator[WorklistLine]:
    for person in people:
        patient = next(part["resource"] for part in person.parts if part["name"] == "patient")
        reasons = tuple(
            ListedReason(reason.text, _shorten(reason.value))
            for reason in person.parse_parts("reason")
        )
        yield WorklistLine(patient, float(person.probability), reasons)


def _shorten(value: str) -> str:
    return f"{float(value):g}" if value else ""
