"""A change of the label rules reaches what is stored: labels are added before any is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ehr_gateway.store.relabel import is_relabelling_pending, relabel_step
from ehr_privacy.consent import label_rules, resource_facts
from ehr_privacy.consent.label_rules import LabelRules, labels_by_code, load_labels, parse_labels
from tests.lib.gateway import House, condition, must, restriction

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
RULES = """
number = {number}
[systems]
icd = "http://hl7.org/fhir/sid/icd-10-cm"
[[rules]]
label = "{label}"
icd.categories = ["J45"]
"""


def asthma(identity: str = "con-2") -> dict[str, Any]:
    made = condition(identity, "enc-1")
    return {**made, "code": {"coding": [{"system": ICD, "code": "J45.909"}]}}


@pytest.fixture
def rules(furnished: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that puts other rules in the place of those in use."""
    # The tests take its steps.
    furnished.app.state.reindexing.stop()

    def use(number: int, label: str) -> LabelRules:
        made = parse_labels(RULES.format(number=number, label=label))
        for module in ("ehr_gateway.store.relabel", "ehr_privacy.consent.label_rules"):
            monkeypatch.setattr(f"{module}.load_labels", lambda: made)
        return made

    yield use


def labels(house: House) -> set[str]:
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT l.label FROM record_label l JOIN resource r ON r.pk = l.pk WHERE r.id = 'con-2'"
        ).fetchall()
    return {row["label"] for row in rows}


def all_steps(house: House, most: int = 200) -> list[set[str]]:
    """Work all off, and return the labels after each step."""
    seen = []
    while relabel_step(house.gateway.store, most):
        seen.append(labels(house))
    return seen


def test_a_write_labels_by_code_and_serves_the_bytes_that_were_sent(
    furnished: House, rules: Any
) -> None:
    rules(1, "PSY")
    author = furnished.login("doctor.a")
    furnished.system("hospital-a").store(asthma())

    assert labels(furnished) == {"PSY"}
    assert b"PSY" not in author.get("Condition/con-2").content
    assert author.ids("Condition?_security=PSY") == []


def test_other_rules_add_what_is_missing_first_and_then_take_away(
    furnished: House, rules: Any
) -> None:
    rules(1, "PSY")
    furnished.system("hospital-a").store(asthma())
    all_steps(furnished)
    rules(2, "HIV")

    assert is_relabelling_pending(furnished.gateway.store)
    seen = all_steps(furnished, most=3)

    assert {"PSY", "HIV"} in seen
    assert seen[-1] == {"HIV"}
    assert not is_relabelling_pending(furnished.gateway.store)


def test_what_names_a_record_is_relabelled_in_the_same_step(furnished: House, rules: Any) -> None:
    """con-2 names a labelled record through another one, and is older than both."""
    rules(1, "PSY")
    hospital = furnished.system("hospital-a")
    hospital.store(condition("con-2", "enc-1"))
    hospital.store(asthma("first"))
    evidence = [{"detail": [{"reference": "Condition/first"}]}]
    hospital.store({**condition("second", "enc-1"), "evidence": evidence})
    evidence = [{"detail": [{"reference": "Condition/second"}]}]
    hospital.store({**condition("con-2", "enc-1"), "evidence": evidence})
    assert labels(furnished) == {"PSY"}
    all_steps(furnished)
    rules(2, "HIV")

    seen = all_steps(furnished, most=1)

    assert {"PSY", "HIV"} in seen
    assert seen[-1] == {"HIV"}


def test_what_others_say_of_a_record_outlives_a_change_of_rules(
    furnished: House, rules: Any
) -> None:
    rules(1, "PSY")
    furnished.system("hospital-a").store(asthma())
    furnished.share()
    system = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    said = {**asthma(), "meta": {"security": [{"system": system, "code": "SDV"}]}}
    must(furnished.system("hospital-b").put(said))
    must(furnished.system("hospital-b").put(asthma()))
    assert labels(furnished) == {"PSY", "SDV"}
    all_steps(furnished)
    rules(2, "HIV")

    assert all_steps(furnished)[-1] >= {"HIV", "SDV"}


def test_a_restriction_by_label_holds_from_the_step_that_labels(
    furnished: House, rules: Any
) -> None:
    rules(1, "PSY")
    furnished.system("hospital-a").store(asthma())
    all_steps(furnished)
    furnished.share()
    close = restriction("close-hiv", against="Organization/hospital-b", domain="diagnosis")
    del close["provision"]["class"]
    system = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    close["provision"]["securityLabel"] = [{"system": system, "code": "HIV"}]
    furnished.login("p.pat-1").store(close)
    doctor = furnished.login("doctor.b")
    must(doctor.get("Condition/con-2"))

    rules(2, "HIV")
    all_steps(furnished)

    assert doctor.get("Condition/con-2").status_code == 404
    assert doctor.ids("Condition?code=J45.909") == []


def test_an_older_process_leaves_the_store_as_it_is(furnished: House, rules: Any) -> None:
    rules(2, "HIV")
    furnished.system("hospital-a").store(asthma())
    all_steps(furnished)

    rules(1, "PSY")

    assert not is_relabelling_pending(furnished.gateway.store)
    assert labels(furnished) == {"HIV"}


def test_a_step_goes_on_where_the_last_one_ended(furnished: House, rules: Any) -> None:
    rules(99, "PSY")
    furnished.system("hospital-a").store(asthma())

    steps = len(all_steps(furnished, most=2))
    with furnished.gateway.store.read_transaction() as connection:
        versions = connection.execute("SELECT COUNT(*) AS n FROM resource").fetchone()["n"]

    assert steps == 2 * (versions // 2 + 1)


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (ICD, "F32.9", {"PSY"}),
        (ICD, "F10.20", {"ETH", "ETHUD"}),
        (ICD, "F11.20", {"ETH", "OPIOIDUD"}),
        (ICD, "F17.210", set()),
        (ICD, "F52.0", {"SEX"}),
        (ICD, "B20", {"HIV"}),
        (ICD, "J45.909", set()),
        ("http://hl7.org/fhir/sid/icd-9-cm", "305.1", set()),
        ("http://hl7.org/fhir/sid/icd-9-cm", "305.90", {"ETH"}),
        ("http://hl7.org/fhir/sid/icd-9-cm", "V08", {"HIV"}),
        ("http://loinc.org", "44261-6", {"PSY"}),
        ("http://loinc.org", "718-7", set()),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "6813", {"ETH", "OPIOIDUD"}),
        # In doubt, closed: a system that is not known may be any of them.
        ("http://example.org", "F32.9", {"PSY"}),
        ("http://snomed.info/sct", "F32.9", set()),
    ],
)
def test_the_shipped_rules_label_a_code_wherever_it_stands(
    system: str, code: str, expected: set[str]
) -> None:
    coding = {"coding": [{"system": system, "code": code}]}
    inner = {"resourceType": "Observation", "component": [{"valueCodeableConcept": coding}]}

    assert load_labels().of(system, code) == expected
    assert labels_by_code({"resourceType": "Basic", "contained": [inner]}) == expected
    assert (
        resource_facts.record_facts({"resourceType": "List", "code": coding}, None).labels
        == expected
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (RULES.format(number=1, label="XYZ"), "rule 1"),
        (RULES.format(number=1, label="PSY") + "other.codes = []\n", "rule 1"),
        (RULES.format(number=1, label="PSY") + 'icd.other = ["x"]\n', "rule 1: icd"),
    ],
)
def test_a_wrong_rule_file_is_refused_with_the_rule(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=f"labels.toml: {place}"):
        parse_labels(text)


def test_no_code_of_a_system_that_may_not_be_shipped_stands_in_the_rules() -> None:
    rules = label_rules.load_labels()

    assert not any("snomed" in system for system in {*rules.codes, *rules.beginnings})
