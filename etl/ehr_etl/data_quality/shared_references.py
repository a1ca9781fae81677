"""References to records of no patient: doctors, places of care, medications and the like.

Of the record alone and of which of those records are not there, so they are judged wherever the
record is, of a patient or of none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ehr_etl.data_quality.faults import Fault, Resource
from ehr_etl.data_quality.linked_rules import iterate_references
from ehr_etl.data_quality.rules import QualityRules
from ehr_fhir.references import local_target

__all__ = ["find_missing_fault", "list_shared_types", "read_shared_references"]

_KIND = "shared_references"


def list_shared_types(rules: QualityRules) -> frozenset[str]:
    """Return the types of record to which references are checked; none without the rule."""
    rule = rules.find_kind(_KIND)
    return frozenset() if rule is None else frozenset(rule.parameters["targets"])


def read_shared_references(
    resource: Resource | None, rules: QualityRules
) -> Iterator[tuple[str, str]]:
    """Yield path and target (`Type/id`) of the references of a record that are checked.

    None of a record that says it was an error, and none of what decides about access.
    """
    rule = rules.find_kind(_KIND)
    if rule is None or resource is None:
        return
    resource_type = str(resource.get("resourceType"))
    if (
        not rule.applies_to(resource_type)
        or resource_type in rules.never_held
        or rules.is_voided(resource)
    ):
        return
    for path, reference in iterate_references(resource, ""):
        target = local_target(reference)
        if target is not None and target.type in rule.parameters["targets"]:
            yield path, str(target)


def find_missing_fault(
    resource: Resource | None, rules: QualityRules, missing: Collection[str]
) -> Fault | None:
    """Return the fault of a record that names one of some records that are not there.

    >>> from ehr_etl.data_quality.rules import load_quality_rules
    >>> visit = {"resourceType": "Encounter", "serviceProvider": {"reference": "Organization/a"}}
    >>> find_missing_fault(visit, load_quality_rules(), {"Organization/a"})
    Fault(rule='shared-references-resolve', elements=('serviceProvider',))
    >>> find_missing_fault(visit, load_quality_rules(), {"Organization/b"}) is None
    True
    """
    rule = rules.find_kind(_KIND)
    if rule is None or not missing:
        return None
    paths = dict.fromkeys(
        path for path, target in read_shared_references(resource, rules) if target in missing
    )
    return Fault(rule.name, tuple(paths)) if paths else None
