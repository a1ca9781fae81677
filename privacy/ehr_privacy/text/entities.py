"""Entities found in a text: where they are, of what type, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = ["ENTITY_TYPES", "Entity", "merge_entities"]

ENTITY_TYPES = (
    *("PERSON", "ADDRESS", "DATE", "IDENTITY_CARD", "PHONE", "CASE_NUMBER", "BED", "EMAIL", "URL"),
    *("IP_ADDRESS", "CARD_NUMBER", "IDENTIFIER", "AGE", "ORGANIZATION"),
)


@dataclass(frozen=True)
class Entity:
    """A stretch of a text that identifies somebody; `key` names who or what, where it is known."""

    start: int
    end: int
    type: str
    # From 0 to 1: where entities overlap, the surer one gives the type.
    score: float
    key: str = ""


def merge_entities(entities: Iterable[Entity]) -> list[Entity]:
    """Join entities that overlap; the surer, then the longer one gives type and key.

    The whole stretch of both is covered: what any recogniser took for an identifier goes.

    >>> merge_entities([Entity(0, 4, "PERSON", 0.5), Entity(2, 9, "IDENTITY_CARD", 1.0)])
    [Entity(start=0, end=9, type='IDENTITY_CARD', score=1.0, key='')]
    """
    merged: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: (entity.start, -entity.end)):
        if merged and entity.start < merged[-1].end:
            merged[-1] = _join(merged[-1], entity)
        else:
            merged.append(entity)
    return merged


def _join(first: Entity, second: Entity) -> Entity:
    surer: Sequence[Entity] = sorted(
        (first, second), key=lambda entity: (entity.score, entity.end - entity.start)
    )
    return replace(surer[-1], start=min(first.start, second.start), end=max(first.end, second.end))
