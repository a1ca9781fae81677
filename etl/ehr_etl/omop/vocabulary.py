"""From a FHIR coding to OMOP concepts: by the user's vocabulary, else the built-in crosswalk.

The crosswalk has a few ids that are openly known: gender, visit classes, vital signs, units. It is
no vocabulary release. No concept is ever guessed from a display text.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from ehr_etl.omop.fhir_values import Coding
from ehr_etl.omop.mappings import load_mappings

__all__ = [
    "ABSENT_CODE",
    "BUILT_IN",
    "CodeMapping",
    "Concept",
    "MappedCode",
    "UnmappedReason",
    "Vocabulary",
]

# What cdm_source says where no vocabulary is loaded.
BUILT_IN = "none"
# Chosen: codes of one run whose mapping is kept; a hospital uses some thousands.
_CACHE_SIZE = 100_000


class UnmappedReason:
    """Why a concept is 0."""

    ABSENT = "not-in-source"
    NO_CODE = "no-code"
    UNKNOWN_SYSTEM = "unknown-code-system"
    NO_VOCABULARY = "no-vocabulary-loaded"
    UNKNOWN_CODE = "code-not-in-vocabulary"
    NO_STANDARD = "no-standard-concept"


@dataclass(frozen=True)
class Concept:
    """A standard concept, its domain, and the concept of a value that the source code contains."""

    concept_id: int
    domain: str
    value_concept_id: int | None = None


@dataclass(frozen=True)
class CodeMapping:
    """What a code stands for: its own concept, standard concepts, or the reason for none."""

    source_concept_id: int = 0
    concepts: tuple[Concept, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class MappedCode:
    """The coding that was chosen of an element, and its mapping."""

    coding: Coding | None
    mapping: CodeMapping

    @property
    def concept_id(self) -> int:
        """Return the first standard concept; 0 without one."""
        return self.mapping.concepts[0].concept_id if self.mapping.concepts else 0

    @property
    def source_value(self) -> str | None:
        """Return the code as it was written."""
        return self.coding.code if self.coding else None

    @property
    def system(self) -> str | None:
        """Return the code system."""
        return self.coding.system if self.coding else None

    def element_values(self, element: str) -> dict[str, int | str | None]:
        """Return concept, source value and source concept as values of a coded element.

        >>> ABSENT_CODE.element_values("unit")
        {'unit_concept': 0, 'unit_source': None, 'unit_source_concept': 0}
        """
        return {
            f"{element}_concept": self.concept_id,
            f"{element}_source": self.source_value,
            f"{element}_source_concept": self.mapping.source_concept_id,
        }


# Of an element that a record does not have.
ABSENT_CODE = MappedCode(None, CodeMapping(reason=UnmappedReason.ABSENT))


class Vocabulary:
    """Looks codes up; `database` is what `athena.load_vocabulary` made of the user's folder."""

    def __init__(self, database: Path | None = None, release: str = BUILT_IN) -> None:
        self.release = release
        self._rules = load_mappings()
        self._database = None
        if database is not None:
            # Read only: many readers, and none can change what the writer loaded.
            self._database = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        self.find_code = lru_cache(_CACHE_SIZE)(self._find_code)
        self._ranks = {name: rank for rank, name in enumerate(self._rules.precedence)}

    def choose(self, codings: Sequence[Coding]) -> MappedCode:
        """Return the coding of an element that is mapped.

        First those with a standard concept, then by vocabulary, then the more specific of one
        vocabulary, then what the author preferred, then by their order.
        """
        if not codings:
            return MappedCode(None, CodeMapping(reason=UnmappedReason.NO_CODE))
        candidates = [MappedCode(coding, self.find_code(coding.system, coding.code))
                 for coding in codings]  # fmt: skip
        order = sorted(
            range(len(candidates)),
            key=lambda index: (
                not candidates[index].mapping.concepts,
                self._rank(candidates[index]),
                self._is_parent(candidates[index], candidates),
                not codings[index].preferred,
                index,
            ),
        )
        return candidates[order[0]]

    def find_ingredients(self, concept_id: int) -> tuple[int, ...]:
        """Return the ingredients of a drug; the drug itself where it is one."""
        if self._database is None:
            return ()
        rows = self._database.execute(
            "SELECT DISTINCT c.concept_id FROM concept c WHERE c.class = 'Ingredient'"
            " AND c.standard = 'S' AND (c.concept_id = ?1 OR c.concept_id IN"
            " (SELECT ancestor FROM ancestor WHERE descendant = ?1)) ORDER BY 1",
            (concept_id,),
        )
        return tuple(row[0] for row in rows)

    def _find_code(self, system: str, code: str) -> CodeMapping:
        built_in = load_crosswalk().get((system, code))
        name = self._rules.vocabularies.get(system)
        if self._database is None:
            if built_in is not None:
                return CodeMapping(concepts=(built_in,))
            is_known = name is not None or any(system == other for other, _ in load_crosswalk())
            return CodeMapping(
                reason=UnmappedReason.NO_VOCABULARY if is_known else UnmappedReason.UNKNOWN_SYSTEM
            )
        if name is not None:
            return self._find_in_database(name, code)
        if built_in is None:
            return CodeMapping(reason=UnmappedReason.UNKNOWN_SYSTEM)
        # A built-in id counts only if the vocabulary has it as a standard concept.
        row = self._database.execute(
            "SELECT domain FROM concept WHERE concept_id = ? AND standard = 'S' AND valid",
            (built_in.concept_id,),
        ).fetchone()
        if row is None:
            return CodeMapping(reason=UnmappedReason.NO_STANDARD)
        return CodeMapping(concepts=(Concept(built_in.concept_id, row[0]),))

    def _find_in_database(self, vocabulary: str, code: str) -> CodeMapping:
        assert self._database is not None  # noqa: S101 - the caller looked
        source = self._database.execute(
            "SELECT concept_id FROM concept WHERE vocabulary = ? AND code = ?"
            " ORDER BY valid DESC, concept_id",
            (vocabulary, code),
        ).fetchone()
        if source is None:
            return CodeMapping(reason=UnmappedReason.UNKNOWN_CODE)
        rows = self._database.execute(
            "SELECT c.concept_id, c.domain, (SELECT min(v.target) FROM maps v JOIN concept t"
            " ON t.concept_id = v.target AND t.standard = 'S' AND t.valid"
            " WHERE v.source = ?1 AND v.kind = 'Maps to value')"
            " FROM concept c WHERE c.standard = 'S' AND c.valid AND (c.concept_id = ?1"
            " OR c.concept_id IN (SELECT target FROM maps WHERE source = ?1 AND kind = 'Maps to'))"
            " ORDER BY c.concept_id",
            (source[0],),
        ).fetchall()
        if not rows:
            return CodeMapping(source[0], reason=UnmappedReason.NO_STANDARD)
        return CodeMapping(source[0], tuple(Concept(*row) for row in rows))

    def _rank(self, code: MappedCode) -> int:
        system = code.coding.system if code.coding else ""
        return self._ranks.get(self._rules.vocabularies.get(system, ""), len(self._ranks))

    def _is_parent(self, code: MappedCode, others: Sequence[MappedCode]) -> bool:
        """Say whether another code of the same vocabulary is a kind of this one."""
        if self._database is None or len(others) == 1 or not code.mapping.concepts:
            return False
        own = code.mapping.concepts[0].concept_id
        return any(
            other.mapping.concepts[0].concept_id != own
            and self._database.execute(
                "SELECT 1 FROM ancestor WHERE descendant = ? AND ancestor = ?",
                (other.mapping.concepts[0].concept_id, own),
            ).fetchone()
            is not None
            for other in others
            if other.mapping.concepts and self._rank(other) == self._rank(code)
        )


@cache
def load_crosswalk() -> Mapping[tuple[str, str], Concept]:
    """Return the built-in concepts by system and code.

    >>> load_crosswalk()["http://hl7.org/fhir/administrative-gender", "female"].concept_id
    8532
    """
    with (files(__package__) / "crosswalk.csv").open(encoding="utf-8") as lines:
        return MappingProxyType(
            {
                (row["system"], row["code"]): Concept(int(row["concept_id"]), row["domain"])
                for row in csv.DictReader(lines)
            }
        )
