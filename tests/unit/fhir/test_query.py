"""Understanding a search."""

from __future__ import annotations

import pytest

from ehr_fhir.errors import Invalid
from ehr_fhir.search.filters import Chain, Clause, Composite, Filter
from ehr_fhir.search.query import MAX_COUNT, parse_search
from ehr_fhir.search.value_parser import SearchValue, split_unescaped
from ehr_fhir.units import CANONICAL_SYSTEM


def values_of(one: Filter) -> tuple[SearchValue, ...]:
    assert isinstance(one, Clause)
    return one.values


def test_repeats_are_all_and_commas_are_any() -> None:
    query = parse_search("Patient", [("given", "a,b"), ("given", "c")])

    clauses = [one for one in query.filters if isinstance(one, Clause)]
    assert [[value.code for value in one.values] for one in clauses] == [["a", "b"], ["c"]]


def test_an_escaped_comma_is_part_of_the_value() -> None:
    (clause,) = parse_search("Patient", [("name", r"a\,b\\c")]).filters

    assert values_of(clause) == (SearchValue(code="a,b\\c"),)
    assert split_unescaped(r"a\|b|c", "|") == [r"a\|b", "c"]


@pytest.mark.parametrize(
    ("text", "system", "code"),
    [("a", None, "a"), ("s|a", "s", "a"), ("|a", "", "a"), ("s|", "s", None)],
)
def test_a_token_has_a_system_or_not(text: str, system: str | None, code: str | None) -> None:
    (clause,) = parse_search("Patient", [("identifier", text)]).filters

    assert values_of(clause) == (SearchValue(system=system, code=code),)


@pytest.mark.parametrize(
    ("name", "text", "kind", "code"),
    [
        ("asserter:Practitioner", "a", "Practitioner", "a"),
        ("subject", "a", None, "a"),
        ("subject", "Group/a", "Group", "a"),
        ("subject:Patient", "a", "Patient", "a"),
    ],
)
def test_a_reference_has_a_type_or_not(name: str, text: str, kind: str | None, code: str) -> None:
    (clause,) = parse_search("Condition", [(name, text)]).filters

    assert values_of(clause)[0].system == kind
    assert values_of(clause)[0].code == code


def test_a_prefix_is_read_before_a_number_only() -> None:
    (clause,) = parse_search(
        "Observation", [("value-quantity", "ge5.4|http://unitsofmeasure.org|mg")]
    ).filters

    value = values_of(clause)[0]
    assert (value.prefix, value.system, value.code) == ("ge", CANONICAL_SYSTEM, "g")
    assert (value.low, value.exact, value.high) == (0.00535, 0.0054, 0.00545)


def test_how_the_answer_is_wanted_is_read() -> None:
    query = parse_search(
        "Observation",
        [
            ("_count", "9999999"),
            ("_sort", "-_lastUpdated"),
            ("_total", "accurate"),
            ("_include", "Observation:subject:Patient"),
            ("_format", "json"),
            ("_cursor", "x"),
        ],
    )

    assert (query.count, [key.code for key in query.sort]) == (MAX_COUNT, ["_lastUpdated"])
    assert query.sort[0].descending
    assert (query.total, query.cursor, query.includes[0].target) == ("accurate", "x", "Patient")
    assert [name for name, _ in query.applied] == ["_count", "_sort", "_total", "_include"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("nam", "x", "`name`"),
        ("name:bad", "x", ":bad"),
        ("birthdate", "x", "date"),
        ("birthdate", "2020,", "empty"),
        ("identifier", "|", "token"),
        ("organization", "a/b/c", "reference"),
        ("organization:Patient", "a", "does not refer"),
        ("general-practitioner:Organization", "Practitioner/a", "type"),
        ("name:missing", "maybe", "true"),
        ("_count", "-1", "_count"),
        ("_total", "all", "_total"),
        ("_sort", "nam", "`name`"),
        ("_sort", "name,-_text", "type string"),
        ("_sort", "name,name,name,name,name,name,name,name,name", "8 keys"),
        ("_summary", "all", "_summary"),
        ("_elements", "nam", "no element"),
        ("_elements", "Observation.code", "no element"),
        ("_include", "Observation:subject", "Patient:"),
        ("_include", "Patient:name", "reference"),
        ("_include", "Patient:organization:Foo", "Foo"),
        ("_include", "Patient", "Type:reference"),
        ("_include", "Patient:organization:Organization:x", "Type:reference"),
        ("_include:recurse", "Patient:link", "iterate"),
        ("_include:iterate", "Foo:link", "Type:reference"),
        ("_revinclude", "*", "Type:reference"),
        ("_revinclude", "Observation:encounter", "does not refer to a Patient"),
        ("_revinclude", "Observation:subject:Group", "does not refer to a Patient"),
        ("_revinclude", "Observation:code", "reference"),
        ("_revinclude", "Observation:subjec", "`subject`"),
        ("_has:Observation:patient", "x", "_has:Type"),
        ("_has:Foo:patient:code", "x", "_has:Type"),
        ("_has:Observation:code:status", "x", "needs a reference"),
        ("_has:Observation:encounter:code", "x", "does not refer to a Patient"),
        ("_has:Observation:patient:cod", "x", "`code`"),
        ("organization.nam", "x", "`name`"),
        ("organization:Patient.name", "x", "does not refer"),
        ("organization:exact.name", "x", "resource type"),
        ("name.given", "x", "needs a reference"),
        ("organization.partof.partof.partof.partof.name", "x", "4 steps"),
        ("_has:Basic:subject:subject.name", "x", "many types"),
        ("general-practitioner.birthdate", "x", "birthdate"),
        ("_id:not", "x", "no modifier"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(name: str, text: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_search("Patient", [(name, text)])

    assert says in str(caught.value)


def test_a_chain_goes_to_the_types_that_know_what_follows() -> None:
    (chain,) = parse_search("Patient", [("general-practitioner.family", "x")]).filters

    assert isinstance(chain, Chain)
    assert [kind for kind, _ in chain.targets] == ["Practitioner"]


def test_a_search_follows_so_many_references_and_no_more() -> None:
    pairs = [("organization.partof.name", "x")] * 6

    assert len(parse_search("Patient", pairs).filters) == 6
    with pytest.raises(Invalid, match="at most 12"):
        parse_search("Patient", [*pairs, ("organization.name", "x")])


def test_so_many_includes_are_served_and_no_more() -> None:
    pairs = [("_include", "Patient:link")] * 16

    assert len(parse_search("Patient", pairs).includes) == 16
    with pytest.raises(Invalid, match="At most 16"):
        parse_search("Patient", [*pairs, ("_include", "*")])


def test_a_summary_and_elements_are_not_asked_for_together() -> None:
    with pytest.raises(Invalid, match="not together"):
        parse_search("Patient", [("_summary", "count"), ("_elements", "name")])


def test_a_chain_without_a_value_filters_nothing() -> None:
    pairs = [("organization.name", ""), ("general-practitioner.identifier", "")]

    assert parse_search("Patient", [*pairs, ("_has:Observation:patient:code", "")]).filters == ()


def test_lenient_passes_over_what_is_unknown_and_says_so() -> None:
    query = parse_search("Patient", [("nam", "x"), ("name", "y")], lenient=True)

    assert query.applied == (("name", "y"),)
    assert [issue.severity for issue in query.issues] == ["warning"]


def test_lenient_does_not_pass_over_a_wrong_value() -> None:
    with pytest.raises(Invalid):
        parse_search("Patient", [("birthdate", "x")], lenient=True)


def test_a_composite_is_any_of_its_values_with_all_their_parts() -> None:
    (one,) = parse_search("Observation", [("code-value-quantity", r"a\$b$5,c$gt6||mg")]).filters

    assert isinstance(one, Composite)
    texts = [[values_of(part)[0].code for part in parts] for parts in one.values]
    assert texts == [["a$b", None], ["c", "mg"]]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("code-value-quantity", "a", "2 parts"),
        ("code-value-quantity", "a$5$6", "2 parts"),
        ("code-value-quantity", "a$x", "number"),
        ("code-value-quantity:missing", "true", "not served"),
        ("component-code-value-quantity", "a", "2 parts"),
        ("code:above", "y", "system.code"),
        ("code:below", "http://x|", "system.code"),
        ("identifier:below", "http://x|y", "not served"),
        ("code:of-type", "a|b|c", "not served"),
        ("_sort", "code-value-quantity", "type composite"),
    ],
)
def test_a_wrong_composite_or_token_modifier_is_refused(name: str, text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse_search("Observation", [(name, text)])


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(Invalid, match="Patiant"):
        parse_search("Patiant", [])


def test_a_number_of_many_digits_is_among_those_it_searches() -> None:
    for unit in ("", "|http://unitsofmeasure.org|[in_i]"):
        (clause,) = parse_search(
            "Observation", [("value-quantity", f"66.89999999999999{unit}")]
        ).filters

        value = values_of(clause)[0]
        assert value.low <= value.exact < value.high
