"""What a check of medicines finds: findings, gathered so that many pairs under a rule are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.record.interpretations import LEVELS
from ehr_portal.record.medicine_names import Medicine

ALLERGY, INTERACTION, DUPLICATE = "allergy", "interaction", "duplicate"
_KINDS = (ALLERGY, INTERACTION, DUPLICATE)
# The rules that are no row of the data.
SAME_CODE, SAME_INGREDIENT, SAME_CLASS = "same-code", "same-ingredient", "same-class"


@dataclass(frozen=True)
class MedicineFinding:
    """Something about some medicines that a prescriber has to weigh."""

    # ALLERGY, INTERACTION or DUPLICATE.
    kind: str
    # One of the levels of `interpretations`.
    level: str
    # The row of medicine_rules.toml, or one of SAME_CODE, SAME_INGREDIENT, SAME_CLASS.
    rule: str
    # The orders it is about, in the order in which they were passed.
    orders: tuple[Resource, ...]
    # Ingredients or classes of medicine_rules.toml; of an interaction those of both sides.
    ingredients: tuple[str, ...] = ()
    allergy: Resource | None = field(default=None, repr=False)
    # Where the rule is published; empty where it follows from the names alone.
    source: str = ""


class Findings:
    """Findings by what they are about: many pairs under one rule are one finding."""

    def __init__(self, medicines: Sequence[Medicine]) -> None:
        self._place = {id(medicine.resource): n for n, medicine in enumerate(medicines)}
        self._found: dict[tuple[Any, ...], MedicineFinding] = {}

    def add(self, finding: MedicineFinding, *key: object) -> None:
        """Add a finding; one with the same rule and key takes its orders in."""
        found = self._found.get((finding.kind, finding.rule, *key))
        if found is not None:
            by_id = {id(order): order for order in (*found.orders, *finding.orders)}
            finding = MedicineFinding(
                finding.kind,
                min(found.level, finding.level, key=LEVELS.index),
                finding.rule,
                tuple(sorted(by_id.values(), key=lambda order: self._place[id(order)])),
                tuple(dict.fromkeys((*found.ingredients, *finding.ingredients))),
                found.allergy,
                found.source,
            )
        self._found[(finding.kind, finding.rule, *key)] = finding

    def sort(self) -> tuple[MedicineFinding, ...]:
        """Return the findings, the most serious first; of the same level allergies first."""
        return tuple(
            sorted(
                self._found.values(),
                key=lambda finding: (LEVELS.index(finding.level), _KINDS.index(finding.kind)),
            )
        )
