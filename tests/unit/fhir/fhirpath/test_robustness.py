"""Nothing but our own errors, whatever the text of an expression or the resource."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ehr_fhir import fhirpath
from ehr_fhir.errors import EhrError, Invalid
from ehr_fhir.fhirpath.parser import parse
from ehr_fhir.fhirpath.registry import FUNCTIONS

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
SAMPLE: dict[str, Any] = {
    "resourceType": "Patient",
    "active": True,
    "name": [{"use": "official", "family": "Chan", "given": ["Tai", None], "_given": [None, {}]}],
    "birthDate": "1974-12-25",
    "deceasedDateTime": "2015-02-07T13:28:17-05:00",
    "multipleBirthInteger": 2,
    "contained": [{"resourceType": "Observation", "valueQuantity": {"value": Decimal("1.50")}}],
    "extension": [{"url": "urn:x", "valueDecimal": Decimal("1.0")}, "not an extension"],
    "contact": "not a list",
    "link": [[{}]],
}

_TERMS = (
    "1 0 -1 1.50 2147483647 'a' '' '2014-01' '1 day' true false {} $this %resource %`vs-x` name"
    " name.given birthDate deceased multipleBirth extension.value contained contained.value link"
    " contact @2014 @2014-02-28T10:00Z @T10:30 1'mg' 4'g' 2days Patient children() descendants()"
    " now() today() '(' 99999999.99 0.00000001"
).split()
_OPERATORS = "+ - * / div mod & | = != ~ !~ < <= > >= in contains and or xor implies".split()
_TYPES = ("String", "Quantity", "System.Integer", "FHIR.HumanName", "code", "Resource")


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def call(name: str, base: str, arguments: list[str]) -> str:
        function = FUNCTIONS[name]
        count = min(max(len(arguments), function.min_arguments), function.max_arguments)
        argument_list = ", ".join((arguments + ["1"] * function.min_arguments)[:count])
        return f"({base}).{name}({argument_list})"

    return st.one_of(
        st.builds(call, st.sampled_from(sorted(FUNCTIONS)), inner, st.lists(inner, max_size=3)),
        st.builds("({}) {} ({})".format, inner, st.sampled_from(_OPERATORS), inner),
        st.builds("({}) is {}".format, inner, st.sampled_from(_TYPES)),
        st.builds("({}).ofType({})".format, inner, st.sampled_from(_TYPES)),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("-({})".format, inner),
        st.builds("({}).{}".format, inner, st.sampled_from(["value", "given", "unit", "name"])),
    )


EXPRESSIONS = st.recursive(st.sampled_from(_TERMS), _combined, max_leaves=6)
FRAGMENTS = st.lists(st.sampled_from([*_TERMS, *_OPERATORS, *"().,[]{}%`'$@/*", " ", "is", "as"]))


@settings(max_examples=300)
@given(st.text() | FRAGMENTS.map("".join) | FRAGMENTS.map(" ".join))
@example("'\\ud800'.encode('hex')")
@example("@0000")
def test_the_parser_refuses_only_as_invalid(text: str) -> None:
    with contextlib.suppress(Invalid):
        parse(text)


@settings(max_examples=300)
@given(EXPRESSIONS)
@example("'\\ud800'.encode('hex')")
@example("(9.power(9)).power(9)")
@example("99999999.99.power(99999999.99)")
@example("'a'.matches('a{99999999999}')")
@example("1 '10*99999999' = 1 'm'")
def test_evaluation_fails_only_with_our_errors(expression: str) -> None:
    with contextlib.suppress(EhrError):
        found = fhirpath.compile(expression).evaluate(SAMPLE, now=NOW)
        assert all(fhirpath.to_json(item) is not NotImplemented for item in found)


@settings(max_examples=200)
@given(EXPRESSIONS)
def test_evaluation_does_not_change_the_resource(expression: str) -> None:
    before = repr(SAMPLE)

    with contextlib.suppress(EhrError):
        fhirpath.compile(expression).evaluate(SAMPLE, now=NOW)

    assert repr(SAMPLE) == before


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "_name", "given", "value", "valueQuantity", "resourceType"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from(["name", "birthDate", "_birthDate", "contained", "id"]), JSON)
)
def test_a_malformed_resource_gives_our_errors_or_a_result(content: dict[str, Any]) -> None:
    resource = {"resourceType": "Patient", **content}
    for expression in (
        "descendants().count()",
        "name.given.where($this = 'a')",
        "birthDate < today()",
        "contained.value > 1",
        "birthDate.extension.value | id | name",
        "descendants().distinct().select($this ~ 1)",
    ):
        with contextlib.suppress(EhrError):
            fhirpath.compile(expression).evaluate(resource, now=NOW)
