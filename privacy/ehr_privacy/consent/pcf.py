"""Consents of IHE Privacy Consent on FHIR (PCF), of all its three levels, as rule rows.

`permit` shares with the organisations named, or with everyone; what limits it (labels, data,
author, period) is read as "nothing but that": the rest is hidden. `deny` closes. Nested provisions,
one level of them, are exceptions of either. PCF's consents are between a patient and providers, so
what they hide beside a permission stays open to carers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ehr_privacy.consent.label_permits import (
    EVERY_RECORD,
    EVERYONE,
    closed_labels,
    closing_rows,
    is_lifted_for_all,
    lifting_conditions,
    rules_by_label,
)
from ehr_privacy.consent.labels import LABELS
from ehr_privacy.consent.model import RuleRow, Value
from ehr_privacy.consent.provision import Provision, read_provision, refuse
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

Json = Mapping[str, Any]  # JSON of every shape
Values = dict[str, Value]

_SELECTORS = ("class", "securityLabel", "data", "dataPeriod")
_ORGANIZATION = "organization"
_EVERYTHING: Values = {column.name: None for column in SELECTOR_COLUMNS}
_CARERS: Values = {**_EVERYTHING, "actor_kind": "carer", "actor_value": None}


def pcf_rule_rows(resource: Json, facts: Mapping[str, str]) -> list[RuleRow]:
    """Return the rows of a PCF consent.

    Raises Unprocessable, with the element's path, for what cannot be enforced (PCF volume 3,
    Consent profiles).
    """
    provision = read_provision(resource)
    # What is meant for emergencies (ETREAT) alone would hold for all treatment.
    provision.require_purpose("TREAT")
    for nested in provision.exceptions:
        nested.require_purpose("TREAT")
    rows = _permit(provision) if provision.type == "permit" else _deny(provision)
    term: Values = {"since": provision.since, "until": provision.until}
    patient: Values = {"patient": facts["patient"], **term}
    return [
        RuleRow(
            table,
            {
                "consent": facts["consent"],
                **({} if table == "consent_exception" else patient),
                **values,
            },
        )
        for table, values in rows
    ]


def _deny(provision: Provision) -> Iterator[tuple[str, Values]]:
    permits = provision.exceptions
    for nested in permits:
        nested.require_type("permit")
    rules = rules_by_label(_denied_labels(provision), permits)
    for table, values in closing_rows(provision.conditions(), rules, permits):
        sealed = {"sealed": int(provision.sealed)} if table == "consent_restriction" else {}
        yield table, {**values, **sealed}
    # Where everything is closed, what is opened for an organisation is shared with it.
    if not {"actor", *_SELECTORS} & provision.present:
        opened = {
            name for nested in permits for kind, name in nested.actors if kind == _ORGANIZATION
        }
        for name in sorted(map(str, opened)):
            yield "consent_sharing", {"organization": name}


def _permit(provision: Provision) -> Iterator[tuple[str, Values]]:
    provision.allow_only("purpose", "period", "actor", "action", "provision", *_SELECTORS)
    names = provision.actors_of(_ORGANIZATION) if "actor" in provision.present else ["*"]
    for name in names:
        yield "consent_sharing", {"organization": name}
    whom: list[Values] = [
        EVERYONE if name == "*" else {"actor_kind": _ORGANIZATION, "actor_value": name}
        for name in names
    ]
    # What the provision itself leaves open is open to all whom it shares with.
    base = replace(provision, actors=())
    permits = [nested for nested in provision.exceptions if nested.type == "permit"]
    rules = [
        rule
        for rule in rules_by_label({EVERY_RECORD}, [base, *permits])
        if not is_lifted_for_all(rule, base)
    ]
    for nested in permits:
        _require_effect(nested, rules, names)
    closed = [{**_EVERYTHING, **actor} for actor in whom]
    for table, values in closing_rows(closed, rules, [base, *permits]):
        yield table, {**values, "sealed": 0} if table == "consent_restriction" else values
    for rule in rules:
        yield "consent_exception", {**_CARERS, "rule": rule}
    for number, nested in enumerate(provision.exceptions):
        if nested.type == "deny":
            for rule in rules_by_label(_denied_labels(nested), ()):
                label = None if rule == EVERY_RECORD else rule
                for condition in nested.conditions():
                    where: Values = {"rule": f"deny-{number}", "sealed": 0}
                    yield "consent_restriction", {**condition, **where, "label": label}


def _denied_labels(provision: Provision) -> frozenset[str]:
    """What bears a sensitivity label counts as restricted: to deny R denies it, as N would."""
    provision.refuse_normal_level()
    return LABELS if "R" in provision.labels else closed_labels(provision.labels)


def _require_effect(nested: Provision, rules: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a nested permission that opens nothing, or shares with whom nothing is shared."""
    strangers = {name for kind, name in nested.actors if kind == _ORGANIZATION} - {*names}
    if strangers and names != ["*"]:
        refuse(f"{nested.path}.actor", "Permit this organisation in the provision itself.")
    if not any(lifting_conditions(nested, rule) for rule in rules):
        path = f"{nested.path}.securityLabel" if rules and nested.labels else nested.path
        refuse(path, "There is nothing closed that this would open.")
