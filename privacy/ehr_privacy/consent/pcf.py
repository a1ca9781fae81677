"""Consents of IHE Privacy Consent on FHIR (PCF), of all its three levels, as rule rows.

`permit` shares with the organisations named, or with everyone; what limits it (labels, data,
author, period) is read as "nothing but that": the rest is hidden. `deny` closes. Nested provisions,
one level of them, are exceptions of either. PCF's consents are between a patient and providers, so
what they hide beside a permission stays open to carers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ehr_privacy.consent.labels import LABELS, parent_label
from ehr_privacy.consent.model import RuleRow, Value
from ehr_privacy.consent.provision import Provision, read_provision, refuse
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

Json = Mapping[str, Any]  # JSON of every shape
Values = dict[str, Value]

_SELECTORS = ("class", "securityLabel", "data", "dataPeriod")
# R4: a confidentiality on a provision stands for itself and all that is lower.
_ABOVE = {"N": LABELS, "R": frozenset({"V"})}
_ALL = "0"
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
    for condition in provision.conditions():
        yield _hidden(_ALL, condition, sealed=int(provision.sealed))
    whole = not {"actor", *_SELECTORS} & provision.present
    for nested in provision.exceptions:
        nested.require_type("permit")
        for condition in nested.conditions():
            yield "consent_exception", {"rule": _ALL, **condition}
            # Where everything is closed, what is opened for an organisation is shared with it.
            if whole and condition["actor_kind"] == "organization":
                yield "consent_sharing", {"organization": condition["actor_value"]}


def _permit(provision: Provision) -> Iterator[tuple[str, Values]]:
    provision.allow_only("purpose", "period", "actor", "action", "provision", *_SELECTORS)
    names = provision.actors_of("organization") if "actor" in provision.present else ["*"]
    whom: list[Values] = [
        {"actor_kind": "everyone", "actor_value": None}
        if name == "*"
        else {"actor_kind": "organization", "actor_value": name}
        for name in names
    ]
    for name in names:
        yield "consent_sharing", {"organization": name}
    levels = [label for label in provision.labels if label in _ABOVE]
    named = frozenset(provision.labels) - set(levels)
    # With a level, the labels named beside it are open too; without one they are all that is.
    closed = min((_ABOVE[label] for label in levels), key=len) if levels else frozenset()
    closed = frozenset(
        label for label in closed if parent_label(label) == label and label not in named
    )
    rules = {label: {**_EVERYTHING, "label": label} for label in sorted(closed)}
    limited = {"class", "data", "dataPeriod"} & provision.present or (named and not levels)
    if limited:
        rules[_ALL] = _EVERYTHING
        for condition in provision.without_labels(levels and provision.labels).conditions():
            yield "consent_exception", {**condition, **_ANYONE, "rule": _ALL}
    for rule, selector in rules.items():
        yield "consent_exception", {**_CARERS, "rule": rule}
        for actor in whom:
            yield _hidden(rule, {**selector, **actor})
    for number, nested in enumerate(provision.exceptions):
        yield from _nested(nested, number, rules, names)


def _nested(
    nested: Provision, number: int, rules: Mapping[str, Values], names: list[str]
) -> Iterator[tuple[str, Values]]:
    if nested.type == "deny":
        for condition in nested.conditions():
            yield _hidden(f"deny-{number}", condition)
        return
    strangers = {name for kind, name in nested.actors if kind == "organization"} - set(names)
    if strangers and names != ["*"]:
        refuse(f"{nested.path}.actor", "Permit this organisation in the provision itself.")
    if not rules:
        refuse(nested.path, "There is nothing closed that this would open.")
    # What is open by its label is not closed by the level of confidentiality that comes with it.
    opened = {*map(parent_label, nested.labels), "R", _ALL} if nested.labels else set(rules)
    for rule in sorted(opened & set(rules)):
        for condition in nested.conditions():
            yield "consent_exception", {**condition, "rule": rule}


def _hidden(rule: str, values: Values, *, sealed: int = 0) -> tuple[str, Values]:
    return "consent_restriction", {"rule": rule, "sealed": sealed, **values}


_ANYONE: Values = {"actor_kind": "everyone", "actor_value": None}
