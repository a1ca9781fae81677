"""Every code text of the sample in the reader's language, the record's own words beside it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from ehr_cli.sample.overlay import sample_resources
from ehr_fhir import definitions
from ehr_fhir.errors import Forbidden
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.record.designations import DesignationCache, designation, read_designations
from ehr_portal.record.display import HAN, concept_text
from ehr_portal.record.dosage import amount_text
from ehr_portal.record.plain_names import load_names, unit_name
from tests.lib.loops import run

CHINESE = ("zh-Hant-HK", "zh-Hans")
# Bills, which no page shows, and what is a register or a log.
LEFT_OUT = frozenset(
    {"Claim", "ExplanationOfBenefit", "SupplyDelivery", "Provenance", "CodeSystem"}
)
# Codes that pages use and do not show: which profile's slice it is, a form of a rule.
UNSHOWN = frozenset(
    {
        "Consent.scope",
        "Consent.category",
        "Consent.provision",
        "ImagingStudy.series.instance.sopClass",
    }
)


def concepts_of(owner: str, node: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield each CodeableConcept and Coding of a resource, with its path."""
    elements = definitions.json_elements(owner)
    for key, value in node.items():
        element = elements.get(key)
        if element is None or f"{path}.{key}" in UNSHOWN:
            continue
        for part in value if isinstance(value, list) else [value]:
            if element.type == "CodeableConcept":
                yield f"{path}.{key}", part
            elif element.type == "Coding" and path != "" and key not in ("tag", "security"):
                yield f"{path}.{key}", {"coding": [part]}
            elif isinstance(part, dict) and element.type in definitions.elements():
                yield from concepts_of(element.type, part, f"{path}.{key}")


@pytest.fixture(scope="module")
def concepts() -> dict[str, list[tuple[str, Any]]]:
    found: dict[str, dict[str, tuple[str, Any]]] = defaultdict(dict)
    for resource in sample_resources():
        kind = resource["resourceType"]
        if kind in LEFT_OUT:
            continue
        for inner in (resource, *resource.get("contained", ())):
            for path, concept in concepts_of(inner["resourceType"], inner, inner["resourceType"]):
                found[kind].setdefault(f"{path}|{concept}", (path, concept))
    return {kind: list(several.values()) for kind, several in found.items()}


@pytest.mark.parametrize("language", CHINESE)
def test_every_code_text_of_the_sample_has_a_chinese_name(
    concepts: dict[str, list[tuple[str, Any]]], language: str
) -> None:
    # As on a page: with the designations of the code systems that the sample brings along.
    systems = [r for r in sample_resources() if r["resourceType"] == "CodeSystem"]

    async def find_missing() -> set[tuple[str, str]]:
        await DesignationCache(lambda: 0.0).use(Server(*systems))  # type: ignore[arg-type]
        texts = {
            (path, concept_text(concept, language))
            for several in concepts.values()
            for path, concept in several
        }
        return {
            (path, text.text)
            for path, text in texts
            if text.lang != language or not HAN.search(text.text)
        }

    missing = run(find_missing())

    assert sum(map(len, concepts.values())) > 800
    assert {"MedicationRequest", "Procedure", "Condition", "Appointment", "Goal"} <= set(concepts)
    assert not missing, "\n".join(map(str, sorted(missing)))


@pytest.mark.parametrize("language", CHINESE)
def test_what_the_record_says_itself_stands_beside(
    concepts: dict[str, list[tuple[str, Any]]], language: str
) -> None:
    for kind in ("Condition", "Procedure", "Medication", "AllergyIntolerance"):
        for path, concept in concepts[kind]:
            written = concept.get("text") or concept["coding"][0].get("display")
            original = concept_text(concept, language).original
            if written:
                assert original is not None, (path, concept)
                assert original.lang == "en"
                assert written.startswith(original.text)


def test_an_english_page_repeats_nothing(concepts: dict[str, list[tuple[str, Any]]]) -> None:
    for _, concept in (pair for several in concepts.values() for pair in several):
        assert concept_text(concept, "en").original is None


# Characters that both scripts write, though OpenCC's table has them as one script's.
_IN_BOTH = frozenset("霉托松布抬制准")


def test_traditional_and_simplified_characters_are_not_mixed() -> None:
    han = definitions.load_definition("han.json")
    simplified_of = dict(zip(han["from"], han["to"], strict=True))
    rows = [(code, names) for table in load_names().values() for code, names in table.items()]
    traditional = {sign for _, names in rows for sign in names[1] if sign in simplified_of}
    simplified = {simplified_of[sign] for sign in traditional}

    mixed = {
        code
        for code, (_, hant, hans) in rows
        if set(hant) & simplified - _IN_BOTH or set(hans) & set(simplified_of) - _IN_BOTH
    }
    assert len(traditional) > 300
    assert mixed == set()


def test_every_row_has_three_columns_and_no_text_twice_in_a_file() -> None:
    for system, rows in load_names().items():
        for code, names in rows.items():
            assert len(names) == len(JURISDICTION.languages), (system, code)
            assert all(HAN.search(name) or not re.search("[a-z]{9}", name) for name in names[1:])
            assert names[1] and names[2], (system, code)


@pytest.mark.parametrize("language", CHINESE)
def test_the_units_of_doses_are_words_of_the_language(language: str) -> None:
    doses = {
        str(rate["doseQuantity"]): rate["doseQuantity"]
        for order in sample_resources()
        if order["resourceType"] == "MedicationRequest"
        for dosage in order["dosageInstruction"]
        for rate in dosage["doseAndRate"]
    }

    assert len(doses) > 5
    for dose in doses.values():
        assert {part.lang for part in amount_text(dose, language).parts} == {language}, dose
        assert HAN.search(amount_text(dose, language).text), dose
    assert unit_name("mmol/L", language) is None


class Server:
    """A gateway with code systems."""

    def __init__(self, *systems: Any) -> None:
        self.systems, self.reads = systems, 0

    async def search_all(self, kind: str, params: Any, *, limit: int) -> Any:
        self.reads += 1
        assert kind == "CodeSystem"
        return type("Results", (), {"matches": self.systems})


LEVELS: dict[str, Any] = {
    "url": "http://example.org/levels",
    "concept": [
        {
            "code": "A",
            "designation": [
                {"language": "zh-Hant-HK", "value": "清醒"},
                {"language": "zh-CN", "value": "意识清楚"},
                {"language": "fr", "value": "alerte"},
            ],
            "concept": [{"code": "B", "designation": [{"language": "zh-Hant", "value": "嗜睡"}]}],
        }
    ],
}


def test_a_designation_of_the_server_goes_before_our_own_name() -> None:
    loinc = "http://loinc.org"
    designations = [{"language": "zh-Hant", "value": "身體重量"}]
    own = {"url": loinc, "concept": [{"code": "29463-7", "designation": designations}]}
    now = [0.0]
    cache, server = DesignationCache(lambda: now[0]), Server(LEVELS, own)
    concept = {"coding": [{"system": loinc, "code": "29463-7", "display": "Weight"}]}
    nested = {"coding": [{"system": LEVELS["url"], "code": "B", "display": "Drowsy"}]}
    assert concept_text(concept, "zh-Hant-HK").text == "體重"

    async def read_page() -> tuple[str, str, str]:
        await cache.use(server)  # type: ignore[arg-type]
        return (
            concept_text(concept, "zh-Hant-HK").text,
            # A language that the server does not have falls back to ours.
            concept_text(concept, "zh-Hans").text,
            concept_text(nested, "zh-Hant-HK").text,
        )

    assert run(read_page()) == ("身體重量", "体重", "嗜睡")
    assert run(read_page()) == ("身體重量", "体重", "嗜睡")
    assert server.reads == 1
    now[0] = 601
    run(read_page())
    assert server.reads == 2


def test_a_reader_who_may_not_read_code_systems_has_our_names() -> None:
    class Closed(Server):
        async def search_all(self, kind: str, params: Any, *, limit: int) -> Any:
            self.reads += 1
            raise Forbidden("No.")

    now = [0.0]
    cache, closed, server = DesignationCache(lambda: now[0]), Closed(), Server(LEVELS)

    async def read_page(gateway: Server) -> str | None:
        await cache.use(gateway)  # type: ignore[arg-type]
        return designation(LEVELS["url"], "A", "zh-Hans")

    assert run(read_page(closed)) is None
    assert run(read_page(server)) is None
    now[0] = 61
    assert run(read_page(server)) == "意识清楚"


def test_a_deeply_nested_code_system_is_read() -> None:
    concept: dict[str, Any] = {"code": "end", "designation": [{"language": "zh", "value": "終"}]}
    for level in range(5000):
        concept = {"code": str(level), "concept": [concept]}

    assert ("http://x", "end") in read_designations(({"url": "http://x", "concept": [concept]},))
    assert designation("http://x", "end", "zh-Hans") is None
