"""How well `$match` finds second records: `python -m tests.perf.bench_match [--people 100000]`.

Prints precision and recall over made-up people by cut-off, and what a person costs. `--estimate`
prints the weights, counted on people of another seed. `--export FILE` writes the same people as
Parquet for `splink_match.py`. Not a test.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.string_folding import normalize_string
from ehr_gateway.patient_matching.candidates import build_searches
from ehr_gateway.patient_matching.comparison import LEVELS, compare_identities
from ehr_gateway.patient_matching.identity import Identity, read_identity
from ehr_gateway.patient_matching.score import GRADES, score_agreement
from tests.lib.duplicated_people import make_people

_CUTS = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
# Chosen: of one criterion, as many as the operation examines.
_MOST = 500
Pair = tuple[int, int]
Patient = dict[str, Any]


class Index:
    """The answers of the searches of `build_searches`, over Patients in memory."""

    def __init__(self, patients: Sequence[Patient]) -> None:
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, patient in enumerate(patients):
            for key in self._list_keys(patient):
                self._holders[key].append(place)

    def find(self, identity: Identity) -> set[int]:
        """Return the places of the candidates of an identity."""
        found: set[int] = set()
        for criteria in build_searches(identity):
            names = [value.split(",") for name, value in criteria if name == "name"]
            if names:
                found.update(self._find_by_name(names, criteria))
            else:
                found.update(*(self._holders.get(key, ())[:_MOST] for key in self._read(criteria)))
        return found

    def _find_by_name(
        self, names: Sequence[Sequence[str]], criteria: Sequence[tuple[str, str]]
    ) -> Iterator[int]:
        """Yield who has all of some names, each in one of its forms, within years of birth."""
        years = [int(value[2:]) for key, value in criteria if key == "birthdate"]
        for year in range(years[0], years[1] + 1) if years else ():
            holders = (
                {
                    place
                    for form in forms
                    for place in self._holders.get(("name", form, str(year)), ())
                }
                for forms in names
            )
            yield from sorted(set.intersection(*holders))[:_MOST]

    @staticmethod
    def _list_keys(patient: Patient) -> set[tuple[str, ...]]:
        identity = read_identity(patient)
        year = identity.birth_date[:4]
        keys: set[tuple[str, ...]] = {("identifier", number) for number in identity.numbers}
        keys |= {("phone", number) for number in identity.telephones}
        keys |= {("birthdate", identity.birth_date)}
        for name in patient["name"]:
            # A string search compares with the beginning of each part (R4 §3.1.1.4.8).
            for part in (name.get("family"), name.get("text"), *name.get("given", ())):
                text = normalize_string(part or "")
                keys |= {("name", text[:end], year) for end in range(1, len(text) + 1)}
        return keys

    @staticmethod
    def _read(criteria: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
        name, values = criteria[0][0], criteria[0][1].split(",")
        if name == "identifier":
            return [(name, JURISDICTION.person_identifier.normalize(values[0].split("|")[1]))]
        if name == "phone":
            numbers = {JURISDICTION.telephone.normalize(value) for value in values}
            return [(name, number) for number in numbers]
        return [(name, value) for value in values]


def estimate_weights(people: int) -> str:
    """Return m and u of each level: shares among pairs of one person and among pairs of two."""
    made = [(person, read_identity(patient)) for person, patient in make_people(people, seed=2)]
    by_person = defaultdict(list)
    for person, identity in made:
        by_person[person].append(identity)
    same = [pair for held in by_person.values() for pair in combinations(held, 2)]
    chance = random.Random(2)
    drawn = ((chance.choice(made), chance.choice(made)) for _ in range(20 * people))
    others = [(one, other) for (mine, one), (yours, other) in drawn if mine != yours]
    tables = {"m": _count_levels(same), "u": _count_levels(others)}
    # Too rare to be met among pairs that are drawn.
    tables["u"]["number"]["same"] = _share_of_equals([(a, b.numbers) for a, b in made])
    tables["u"]["telephone"]["same"] = _share_of_equals([(a, b.telephones) for a, b in made])
    return "\n".join(
        f"\n[{name}.{element}]\n"
        + "\n".join(f"{level} = {share:.2g}" for level, share in own.items())
        for name, table in tables.items()
        for element, own in table.items()
    )


def _share_of_equals(held: Sequence[tuple[int, Collection[str]]]) -> float:
    """Return the share of all pairs of two people that have a value in common."""
    holders: dict[str, set[int]] = defaultdict(set)
    for person, values in held:
        for value in values:
            holders[value].add(person)
    equal = sum(math.comb(len(people), 2) for people in holders.values())
    return max(equal, 0.5) / math.comb(len({person for person, _ in held}), 2)


def _count_levels(pairs: Iterable[tuple[Identity, Identity]]) -> dict[str, dict[str, float]]:
    """Return the share of each level; what never occurred is taken as half a pair."""
    counts: dict[str, Counter[str]] = {element: Counter() for element in LEVELS}
    for one, other in pairs:
        for element, level in compare_identities(one, other).items():
            counts[element][level] += 1
    return {
        element: {
            level: max(counts[element][level], 0.5) / max(sum(counts[element].values()), 1)
            for level in levels
        }
        for element, levels in LEVELS.items()
    }


def judge_people(people: int) -> None:
    """Print precision and recall of pairs by cut-off, and what one person costs."""
    people_made = list(make_people(people))
    made = [(person, read_identity(patient)) for person, patient in people_made]
    identities = [identity for _, identity in made]
    index = Index([patient for _, patient in people_made])
    scores: dict[Pair, float] = {}
    candidates, processor = 0, time.process_time()
    for place, identity in enumerate(identities):
        for other in index.find(identity) - {place}:
            candidates += 1
            pair = (min(place, other), max(place, other))
            if pair not in scores:
                scores[pair] = score_agreement(compare_identities(identity, identities[other]))
    processor = time.process_time() - processor
    held = Counter(person for person, _ in made)
    true = sum(count * (count - 1) // 2 for count in held.values())
    reached = sum(made[one][0] == made[other][0] for one, other in scores)
    print(  # noqa: T201
        f"{len(made)} records, {true} pairs of one person, {reached} of them compared;"
        f" {candidates / len(made):.1f} candidates and {1e3 * processor / len(made):.2f} ms of"
        " processor for each record"
    )
    print(f"{'cut':>8} {'pairs':>7} {'precision':>10} {'recall':>8}")  # noqa: T201
    for cut in _CUTS:
        taken = [pair for pair, score in scores.items() if score >= cut]
        right = sum(made[one][0] == made[other][0] for one, other in taken)
        grades = " ".join(grade for grade, least in GRADES.items() if least == cut)
        print(  # noqa: T201
            f"{cut:>8} {len(taken):>7} {right / max(len(taken), 1):>10.4f}"
            f" {right / true:>8.4f} {grades}"
        )


def export_people(people: int, file: Path) -> None:
    """Write one row a record: who it is of, and one value of each element."""
    rows = [
        {
            "unique_id": place,
            "person": person,
            "number": min(told.numbers, default=None),
            "letters": " ".join(sorted(min(told.words, default=()))) or None,
            "characters": min(told.characters, default=None),
            "birth_date": told.birth_date or None,
            "gender": told.gender or None,
            "telephone": min(told.telephones, default=None),
        }
        for place, (person, patient) in enumerate(make_people(people))
        for told in [read_identity(patient)]
    ]
    pq.write_table(pa.Table.from_pylist(rows), file)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--export", type=Path)
    given = parser.parse_args()
    if given.export:
        export_people(given.people, given.export)
    elif given.estimate:
        print(estimate_weights(given.people))  # noqa: T201
    else:
        judge_people(given.people)


if __name__ == "__main__":
    main()
