"""Checks of one value: invariants, bindings, fixed values and patterns, limits."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ehr_fhir import fhirpath
from ehr_fhir.errors import EhrError
from ehr_fhir.profiles.findings import Place, Run, Severity
from ehr_fhir.profiles.rules import Check
from ehr_fhir.profiles.structure import Binding, Constraint, ElementDefinition

__all__ = [
    "check_canonical",
    "check_coding",
    "contains_pattern",
    "make_binding_check",
    "make_constraint_check",
    "make_value_checks",
]

# R4's own invariants that hold of every object without this key; most objects have none of them.
HOLDS_WITHOUT: Mapping[str, str] = {
    "dom-2": "contained",
    "dom-3": "contained",
    "dom-4": "contained",
    "dom-5": "contained",
    "per-1": "end",
    "qty-3": "code",
    "ref-1": "reference",
    "rng-2": "high",
    "cpt-2": "value",
    "att-1": "data",
}


def make_constraint_check(constraint: Constraint, profile: str = "") -> Check | None:
    """Return the check of an invariant; None for one that is only told in words or in XPath."""
    if not constraint.expression:
        return None
    needed = "" if profile else HOLDS_WITHOUT.get(constraint.key, "")
    is_local_reference = not profile and constraint.key == "ref-1"
    of_profile = f" (profile {profile})" if profile else ""
    severity: Severity = "error" if constraint.severity == "error" else "warning"
    text = f"Rule {constraint.key}: {constraint.human}{of_profile}"
    not_evaluated = f"Rule {constraint.key} could not be evaluated here{of_profile}."
    try:
        expression = fhirpath.compile(constraint.expression, as_filters=True)
    except EhrError:
        return lambda place, run: run.add("information", "not-supported", place.path, not_evaluated)

    def check(place: Place, run: Run) -> None:
        value = place.value
        if not run.with_invariants:
            return
        if needed and (type(value) is not dict or needed not in value):
            return
        # ref-1 is about references to contained resources alone.
        if is_local_reference and value[needed][:1] != "#":
            return
        try:
            found = expression.evaluate(
                run.resource,
                now=run.now,
                context=place.element(),
                variables=run.variables,
                resolve=run.resolve,
                member_of=lambda item, url: _is_member(run, item, url),
            )
        except EhrError:
            run.add("information", "not-supported", place.path, not_evaluated)
            return
        # Nothing is no failure: `start <= end` of an absent element gives nothing.
        if found and found[0] is False:
            run.add(severity, "invariant", place.path, text)

    return check


# Any: an item of a FHIRPath collection.
def _is_member(run: Run, item: Any, url: str) -> bool | None:
    value, kind = (item.value, item.type) if hasattr(item, "value") else (item, "code")
    coded = _codes(Place(value, None, kind, "", "")) or ()
    answers = [run.codes.is_member(url, system, code) for system, code in coded]
    return True if True in answers else None if None in answers else False


def make_binding_check(binding: Binding, profile: str = "") -> Check | None:
    """Return the check of a binding; None for one that does not oblige."""
    widest = Binding("required", binding.max_value_set) if binding.max_value_set else None
    if binding.strength not in ("required", "extensible"):
        return make_binding_check(widest, profile) if widest else None
    value_set, is_required = binding.value_set, binding.strength == "required"
    of_profile = f" (profile {profile})" if profile else ""
    severity: Severity = "error" if is_required else "warning"
    verb = "must" if is_required else "should"
    text = f"The code {verb} be of the value set {value_set} ({binding.strength}){of_profile}."
    unknown = f"It is not known here which codes the value set {value_set} has{of_profile}."
    check_widest = make_binding_check(widest, profile) if widest and not is_required else None

    def check(place: Place, run: Run) -> None:
        coded = _codes(place)
        if coded is None:
            # Only extensions: why there is no value.
            return
        answers = [run.codes.is_member(value_set, system, given) for system, given in coded]
        if True in answers:
            pass
        elif None in answers:
            run.add("information", "not-supported", place.path, unknown)
        else:
            run.add(severity, "code-invalid", place.path, text)
        if check_widest is not None:
            check_widest(place, run)

    return check


def _codes(place: Place) -> list[tuple[str | None, str]] | None:
    """Return the (system, code) pairs of a coded value; None where there is no value."""
    value = place.value
    if isinstance(value, str):
        return [(None, value)]
    # A binding of `medication[x]` is of the code, not of the reference.
    if not isinstance(value, dict) or place.type == "Reference":
        return None
    if place.type == "CodeableConcept":
        codings = value.get("coding", ())
        if not codings and "text" not in value:
            return None
        return [pair for coding in codings if (pair := _read_coding(coding))]
    if pair := _read_coding(value):
        return [pair]
    # A Coding that has no code. Of a Quantity the code alone is bound: `unit` is for people.
    return [] if place.type == "Coding" and value.keys() - {"extension", "id"} else None


def _read_coding(coding: Any) -> tuple[str | None, str] | None:
    if isinstance(coding, dict) and isinstance(coding.get("code"), str):
        return str(coding.get("system", "")), coding["code"]
    return None


def check_coding(place: Place, run: Run) -> None:
    """Check that the code system of a Coding has its code, where the system is known here."""
    value = place.value
    if type(value) is not dict:
        return
    system, code = value.get("system"), value.get("code")
    if type(system) is str and type(code) is str and run.codes.is_code(system, code) is False:
        run.error("code-invalid", f"{place.path}.code", "The code system has no such code.")


def check_canonical(place: Place, run: Run) -> None:
    """Check that a canonical address is absolute, or names what is inside (R4 §2.3.0.2)."""
    value = place.value
    if type(value) is str and ":" not in value and value[:1] != "#":
        run.error("value", place.path, "A canonical address must be absolute.")


def make_value_checks(definition: ElementDefinition, profile: str) -> list[Check]:
    """Return the checks of fixed values, patterns, lengths and limits."""
    checks = []
    if definition.fixed:
        checks.append(_make_fixed_check(definition.fixed[0], profile))
    if definition.pattern:
        checks.append(_make_pattern_check(definition.pattern[0], profile))
    if definition.max_length is not None:
        checks.append(_make_length_check(definition.max_length, profile))
    if definition.least_value or definition.most_value:
        checks.append(_make_limit_check(definition, profile))
    return checks


# Any: JSON of every shape, here and below.
def _make_fixed_check(fixed: Any, profile: str) -> Check:
    wanted = _comparable(fixed)

    def check(place: Place, run: Run) -> None:
        if _comparable(place.value) != wanted:
            text = f"The value is not the one that is fixed (profile {profile})."
            run.error("value", place.path, text)

    return check


def _make_pattern_check(pattern: Any, profile: str) -> Check:
    def check(place: Place, run: Run) -> None:
        if not contains_pattern(place.value, pattern):
            text = f"The value does not have what the pattern has (profile {profile})."
            run.error("value", place.path, text)

    return check


def contains_pattern(value: Any, pattern: Any) -> bool:
    """Say whether a value has all that a pattern has (R4, ElementDefinition.pattern[x]).

    >>> contains_pattern({"coding": [{"code": "a", "display": "A"}]}, {"coding": [{"code": "a"}]})
    True
    """
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            key in value and contains_pattern(value[key], inner) for key, inner in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(value, list) and all(
            any(contains_pattern(item, inner) for item in value) for inner in pattern
        )
    return bool(_comparable(value) == _comparable(pattern))


def _comparable(value: Any) -> Any:
    """Return JSON in which `true` is not 1, and 1.0 is the number 1."""
    if isinstance(value, bool) or value is None:
        return (value,)
    if isinstance(value, dict):
        return {key: _comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_comparable(inner) for inner in value]
    return Decimal(str(value)) if isinstance(value, int | float | Decimal) else value


def _make_length_check(most: int, profile: str) -> Check:
    def check(place: Place, run: Run) -> None:
        if isinstance(place.value, str) and len(place.value) > most:
            text = f"The text is longer than {most} characters (profile {profile})."
            run.error("too-long", place.path, text)

    return check


def _make_limit_check(definition: ElementDefinition, profile: str) -> Check:
    """Return the check of the least and the most value, of numbers and of texts such as dates."""
    text = f"The value is beyond the limits of the profile {profile}."

    def check(place: Place, run: Run) -> None:
        value = _parse_comparable(place.value)
        is_low = any(_is_less(value, _parse_comparable(least)) for least in definition.least_value)
        is_high = any(_is_less(_parse_comparable(most), value) for most in definition.most_value)
        if is_low or is_high:
            run.error("value", place.path, text)

    return check


def _parse_comparable(value: Any) -> Any:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return Decimal(str(value)) if is_number else value


def _is_less(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        # Dates of one precision are in the order of their texts.
        length = min(len(one), len(other))
        return one[:length] < other[:length]
    return isinstance(one, Decimal) and isinstance(other, Decimal) and one < other
