"""Expression: compile a FHIRPath expression once, evaluate it on many resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import type_check
from ehr_fhir.fhirpath.compiler import Compiler
from ehr_fhir.fhirpath.element import Element, root_element
from ehr_fhir.fhirpath.parser import parse
from ehr_fhir.fhirpath.scope import MAX_STEPS, Closure, Evaluation, Scope
from ehr_fhir.fhirpath.union_terms import find_required_keys, select_terms
from ehr_fhir.fhirpath.walk import Walk, compile_walks

__all__ = ["Expression", "compile", "to_json"]

_NO_VARIABLES: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled FHIRPath expression; equal to another of the same text and context type."""

    text: str
    context_type: str | None = None
    # JSON keys of which a resource must have one for there to be a result; None if unknown.
    keys: frozenset[str] | None = None
    # For a union of plain paths: walks that find the same values as JSON, three times faster.
    walks: tuple[Walk, ...] | None = field(compare=False, repr=False, default=None)
    _closure: Closure = field(compare=False, repr=False, default=lambda _: [])

    # Any: an Element of the resource, or a value of FHIRPath's System types.
    def evaluate(
        self,
        resource: Mapping[str, Any],
        *,
        now: datetime,
        context: Element | Mapping[str, Any] | None = None,
        variables: Mapping[str, object] = _NO_VARIABLES,
        resolve: Callable[[str], Mapping[str, Any] | None] | None = None,
        member_of: Callable[[object, str], bool | None] | None = None,
        trace: Callable[[str, list[Any]], None] | None = None,
        max_steps: int = MAX_STEPS,
    ) -> list[Any]:
        """Evaluate the expression on a resource, or on an element of it given as `context`.

        `now` is the instant of `now()`, `today()` and `timeOfDay()` (N1 §5.9). `variables` are the
        caller's environment variables (§9). Raises Invalid, and TooCostly beyond the step budget.
        """
        root = root_element(resource)
        if context is None:
            focus = root
        else:
            focus = context if isinstance(context, Element) else root_element(context)
        evaluation = Evaluation(root, [focus], variables, now, resolve, member_of, trace, max_steps)
        try:
            return list(self._closure(Scope(evaluation, [focus])))
        except RecursionError:
            text = "The FHIRPath expression or the resource is nested too deep."
            raise Invalid(text, issue_code="too-costly") from None


@lru_cache(2048)
def compile(  # noqa: A001 - as re.compile
    expression: str,
    *,
    context_type: str | None = None,
    as_filters: bool = False,
    check_order: bool = False,
    own_terms: bool = False,
) -> Expression:
    """Parse, check and compile an expression; raise Invalid with line and column.

    With a `context_type` each path is followed through R4's definitions, and one that leads nowhere
    is refused. `as_filters` lets `as` take many items, and `own_terms` drops the terms of a union
    that start at another resource type: R4's search parameters and invariants need them.
    `check_order` refuses to count off items whose order is not defined.

    >>> from datetime import datetime, timezone
    >>> given = compile("name.where(use = 'official').given", context_type="Patient")
    >>> patient = {"resourceType": "Patient", "name": [{"use": "official", "given": ["Ka-Ming"]}]}
    >>> [to_json(value) for value in given.evaluate(patient, now=datetime.now(timezone.utc))]
    ['Ka-Ming']
    >>> compile("name.givn", context_type="Patient")
    Traceback (most recent call last):
    ehr_fhir.errors.Invalid: The FHIRPath is wrong at line 1, column 6: HumanName has no `givn`.
    """
    tree = parse(expression)
    keys = walks = None
    if context_type is not None:
        tree = select_terms(tree, context_type) if own_terms else tree
        type_check.check_types(tree, expression, context_type, check_order=check_order)
        keys = find_required_keys(tree, context_type)
        # A walk takes the items that are of a type out of many, as a filter does.
        walks = compile_walks(tree, context_type) if as_filters else None
    closure = Compiler(expression, as_filters=as_filters).build(tree)
    return Expression(expression, context_type, keys, walks, closure)


def to_json(value: object) -> Any:  # Any: JSON of every shape
    """Convert an item of a result to JSON: an element's own, a number, a boolean or a string.

    >>> from ehr_fhir.fhirpath.temporal import parse_date
    >>> to_json(parse_date("2014-02")), to_json(True)
    ('2014-02', True)
    """
    if isinstance(value, Element):
        return value.value
    return value if isinstance(value, bool | int | Decimal | str) else str(value)
