"""Whatever is asked of whatever store, the SQL answers as a plain reading of the rules does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ehr_gateway.search.page import search
from ehr_gateway.store.store import Store
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.reference_search import ReferenceSearch
from tests.lib.store import NOW, platform, store

__all__ = ["store"]

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
QUERIES = 8

NAMES = ["Chan", "CHAN Tai", "Chang", "Müller", "muller", "陳大文", "陈", "O'Brien", "Wai-Man", "a"]
DATES = ["1999", "2000", "2000-01", "2000-02", "2000-01-31", "2000-02-29", "2000-02-01"]
TIMES = ["2000-01-31T23:30:00+08:00", "2000-01-31T16:00:00Z", "2000-02-01T00:00:00.5+08:00"]
NUMBERS = ["0", "1", "5", "5.4", "5.44", "5.40", "5.35", "5.45", "5400", "-1", "10"]
CODES = ["a", "b", "c"]
DISPLAYS = ["Body weight", "body Weight, dry", "Glucose"]
PATIENTS, STAYS, HOUSES = ["p1", "p2", "p3"], ["e1", "e2"], ["o1", "o2", "o3"]
TOKEN_PREFIXES = ["", f"{LOINC}|", "|"]
PREFIXES = ["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]

pick = st.sampled_from


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(strategy, strategy, st.none(), strategy)


def refers(kind: str, ids: list[str]) -> st.SearchStrategy[dict[str, str]]:
    return pick(ids).map(lambda one: {"reference": f"{kind}/{one}"})


def built(kind: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return resources of a type; a part that is None or empty is left out."""
    return st.fixed_dictionaries(parts).map(
        lambda found: {
            "resourceType": kind,
            **{name: value for name, value in found.items() if value not in (None, [], {})},
        }
    )


codings = st.fixed_dictionaries(
    {"code": pick(CODES)}, optional={"system": pick([LOINC, "s"]), "display": pick(DISPLAYS)}
)
concepts = st.fixed_dictionaries(
    {"coding": st.lists(codings, min_size=1, max_size=2)}, optional={"text": pick(DISPLAYS)}
)
periods = st.tuples(maybe(pick(DATES[:3])), maybe(pick(DATES[3:]))).map(
    lambda ends: {
        **({"start": ends[0]} if ends[0] else {}),
        **({"end": ends[1]} if ends[1] else {}),
    }
)
units = pick(
    [
        {},
        {"unit": "mg"},
        {"unit": "gram", "system": UCUM, "code": "g"},
        {"unit": "mg", "system": UCUM, "code": "mg"},
        {"code": "mg", "system": "s"},
    ]
)
quantities = st.tuples(
    pick(NUMBERS), units, pick([{}, {}, {}, {"comparator": "<"}, {"comparator": ">"}])
).map(lambda parts: {"value": float(parts[0]), **parts[1], **parts[2]})
human = st.fixed_dictionaries(
    {"family": pick(NAMES)}, optional={"given": st.lists(pick(NAMES), min_size=1, max_size=2)}
)
identifiers = st.fixed_dictionaries({"value": pick(CODES)}, optional={"system": pick([LOINC, "s"])})

RESOURCES = {
    "Organization": built(
        "Organization", name=pick(NAMES), partOf=maybe(refers("Organization", HOUSES[:1]))
    ),
    "Patient": built(
        "Patient",
        name=st.lists(human, max_size=2),
        gender=maybe(pick(["male", "female"])),
        birthDate=maybe(pick(DATES)),
        identifier=st.lists(identifiers, max_size=2),
        active=maybe(st.booleans()),
        managingOrganization=maybe(refers("Organization", HOUSES)),
    ),
    "Encounter": built(
        "Encounter",
        status=pick(["finished", "planned"]),
        **{"class": pick([{"code": "IMP"}, {"code": "AMB", "system": "s"}])},
        subject=maybe(refers("Patient", PATIENTS)),
        period=maybe(periods),
        serviceProvider=maybe(refers("Organization", HOUSES)),
    ),
    "Observation": built(
        "Observation",
        status=pick(["final", "amended"]),
        code=concepts,
        category=st.lists(concepts, max_size=1),
        subject=maybe(refers("Patient", PATIENTS)),
        encounter=maybe(refers("Encounter", STAYS)),
        effectiveDateTime=maybe(pick(DATES + TIMES)),
        valueQuantity=maybe(quantities),
        component=st.lists(
            st.fixed_dictionaries({"code": concepts, "valueQuantity": quantities}), max_size=2
        ),
    ),
}


@st.composite
def stores(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw the resources of a small store; what they refer to is there."""
    ids = {"Organization": HOUSES, "Patient": PATIENTS, "Encounter": STAYS}
    found = [
        {**draw(RESOURCES[kind]), "id": identity}
        for kind, names in ids.items()
        for identity in names
    ]
    number = draw(st.integers(3, 7))
    return found + [{**draw(RESOURCES["Observation"]), "id": f"b{one}"} for one in range(number)]


def several(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=2).map(",".join)


def told(
    code: str, modifiers: list[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[str, str]]:
    """Draw a parameter with a modifier and values, or whether it is missing."""
    said = st.tuples(pick(modifiers).map(lambda one: code + one), several(values))
    return st.one_of(said, said, st.tuples(st.just(f"{code}:missing"), pick(["true", "false"])))


def token(code: str) -> st.SearchStrategy[tuple[str, str]]:
    values = st.tuples(pick(TOKEN_PREFIXES), pick(CODES)).map("".join)
    return told(code, ["", "", ":not"], values | st.just(f"{LOINC}|"))


def text(code: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.tuples(st.just(f"{code}:text"), pick(["body", "BODY weight", "glu", "weight"]))


def plain(code: str, values: list[str]) -> st.SearchStrategy[tuple[str, str]]:
    return told(code, ["", ":not"], pick(values))


def string(code: str) -> st.SearchStrategy[tuple[str, str]]:
    return told(code, ["", ":exact", ":contains"], pick([*NAMES, "ha", "mull", "文"]))


def date(code: str) -> st.SearchStrategy[tuple[str, str]]:
    values = st.tuples(pick([*PREFIXES, "ap"]), pick(DATES + TIMES)).map("".join)
    return told(code, [""], values)


def quantity(code: str) -> st.SearchStrategy[tuple[str, str]]:
    asked = pick(["", f"|{UCUM}|mg", f"|{UCUM}|g", "||mg", "||gram", "|s|mg"])
    values = st.tuples(pick(PREFIXES), pick(NUMBERS), asked).map("".join)
    return told(code, [""], values)


def reference(code: str, kind: str, ids: list[str]) -> st.SearchStrategy[tuple[str, str]]:
    forms = [form for one in ids for form in (one, f"{kind}/{one}", f"{kind}/{one}/_history/1")]
    typed = st.tuples(st.just(f"{code}:{kind}"), pick(ids))
    return told(code, [""], pick(forms)) | typed


FILTERS: dict[str, list[st.SearchStrategy[tuple[str, str]]]] = {
    "Organization": [string("name"), reference("partof", "Organization", HOUSES)],
    "Patient": [
        string("name"), string("family"), string("given"), plain("gender", ["male", "female"]),
        date("birthdate"), token("identifier"), plain("active", ["true", "false"]),
        reference("organization", "Organization", HOUSES), plain("deceased", ["true", "false"]),
    ],
    "Encounter": [
        plain("status", ["finished", "planned"]), token("class"), date("date"),
        plain("class", ["IMP", "s|AMB"]), reference("patient", "Patient", PATIENTS),
        reference("service-provider", "Organization", HOUSES),
    ],
    "Observation": [
        token("code"), token("combo-code"), token("component-code"), token("category"),
        text("code"), text("category"), plain("status", ["final", "amended"]), date("date"),
        quantity("value-quantity"), quantity("combo-value-quantity"),
        reference("subject", "Patient", PATIENTS), reference("patient", "Patient", PATIENTS),
        reference("encounter", "Encounter", STAYS),
    ],
}  # fmt: skip
CHAINS = {
    "Organization": [("partof", "Organization")],
    "Patient": [("organization", "Organization")],
    "Encounter": [("patient", "Patient"), ("service-provider", "Organization")],
    "Observation": [("patient", "Patient"), ("subject:Patient", "Patient"),
                    ("encounter", "Encounter")],
}  # fmt: skip
HAS = {
    "Organization": [("Patient", "organization"), ("Encounter", "service-provider"),
                     ("Organization", "partof")],
    "Patient": [("Encounter", "patient"), ("Observation", "subject")],
    "Encounter": [("Observation", "encounter")],
    "Observation": [],
}  # fmt: skip
SORTS = {
    "Organization": ["name", "_id"],
    "Patient": ["name", "birthdate", "gender", "identifier", "_id"],
    "Encounter": ["date", "status", "_id"],
    "Observation": ["date", "code", "value-quantity", "combo-value-quantity", "_id"],
}


def prefixed(
    told: st.SearchStrategy[tuple[str, str]], start: str
) -> st.SearchStrategy[tuple[str, str]]:
    return told.map(lambda one: (f"{start}{one[0]}", one[1]))


@st.composite
def filters(draw: st.DrawFn, kind: str, depth: int = 2) -> tuple[str, str]:
    """Draw a parameter of a type, alone, along a chain, or by `_has`."""
    way = draw(pick(["alone"] * 4 + ["chain", "has"])) if depth else "alone"
    if way == "chain":
        code, end = draw(pick(CHAINS[kind]))
        return draw(prefixed(filters(end, depth - 1), f"{code}."))
    if way == "has" and HAS[kind]:
        other, code = draw(pick(HAS[kind]))
        return draw(prefixed(filters(other, depth - 1), f"_has:{other}:{code}:"))
    return draw(draw(pick(FILTERS[kind])))


def sorts(kind: str) -> st.SearchStrategy[list[tuple[str, str]]]:
    key = st.tuples(pick(["", "-"]), pick(SORTS[kind])).map("".join)
    keys = st.lists(key, min_size=1, max_size=2, unique_by=lambda one: one.removeprefix("-"))
    return keys.map(lambda found: [("_sort", ",".join(found))])


@st.composite
def asked(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """Draw a search: one parameter, or two that must both hold, and perhaps an order."""
    kind = draw(pick([*RESOURCES, "Observation"]))
    pairs = [draw(filters(kind)) for _ in range(draw(pick([1, 1, 2])))]
    return kind, pairs + (draw(sorts(kind)) if draw(st.booleans()) else [])


def fill(store: Store, resources: list[dict[str, Any]]) -> None:
    """Put these resources into the store, and nothing else."""
    tables = [f"idx_{kind}" for kind in ("date", "number", "quantity", "reference", "string",
                                         "token", "uri")]  # fmt: skip
    with store.write_transaction() as connection:
        for table in (*tables, "record_patient", "record_label", "resource"):
            connection.execute(f"DELETE FROM {table}")
    with open_transaction(store, platform()) as writing:
        for one in resources:
            writing.create(prepare_draft(one, one["id"], platform(), one["resourceType"]))


def answered(store: Store, kind: str, pairs: list[tuple[str, str]]) -> list[str]:
    """Return the ids of all pages of two."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        more = [("_count", "2"), *([("_cursor", cursor)] if cursor else [])]
        page = search(store, platform(), kind, [*pairs, *more])
        found += [one.id for one in page.matches]
        cursor = page.next_cursor
        if cursor is None:
            return found


def agree(store: Store, resources: list[dict[str, Any]], questions: list[Any]) -> None:
    fill(store, resources)
    reference = ReferenceSearch(resources, NOW)
    for kind, pairs in questions:
        note(f"{kind}?{'&'.join('='.join(pair) for pair in pairs)}")
        expected = reference.ids(kind, pairs)
        assert answered(store, kind, pairs) == expected
        total = search(store, platform(), kind, [*pairs, ("_summary", "count")]).total
        assert total == len(expected)


def property_of(examples: int) -> Callable[..., None]:
    @settings(max_examples=examples)
    @given(resources=stores(), questions=st.lists(asked(), min_size=QUERIES, max_size=QUERIES))
    def check(store: Store, resources: list[dict[str, Any]], questions: list[Any]) -> None:
        agree(store, resources, questions)

    return check


test_sql_agrees_with_the_reference = property_of(60)
test_sql_agrees_with_the_reference_at_length = pytest.mark.slow(property_of(1500))
