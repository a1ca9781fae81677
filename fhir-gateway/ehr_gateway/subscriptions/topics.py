"""Subscription topics: which change of which resource is an event, and how it can be filtered.

A topic is a file in the form of R5's SubscriptionTopic, in `rules/subscription_topics` or a folder
of the installation's own. Its criteria are judged on the version and on the one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ehr_fhir import definitions, fhirpath
from ehr_fhir.errors import EhrError, Invalid, Unavailable
from ehr_fhir.fhirpath import Expression
from ehr_fhir.fhirpath.element import root_element
from ehr_fhir.json_text import parse
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.search.filters import Clause, UnknownParameter
from ehr_gateway.subscriptions.matching import Values, index_values, matches, parse_clauses

__all__ = ["Change", "Topic", "Trigger", "load_topics"]

_INTERACTIONS = frozenset({"create", "update", "delete"})
# Of an expression on one version; beyond them there is no event. Chosen: no real one needs more.
_MAX_STEPS = 50_000
_QUERY_MEMBERS = frozenset(
    {"previous", "current", "requireBoth", "resultForCreate", "resultForDelete"}
)


@dataclass(frozen=True)
class Change:
    """A version and the one before it, parsed; None where there is none or it is a deletion."""

    type: str
    previous: Mapping[str, Any] | None
    current: Mapping[str, Any] | None

    @property
    def interaction(self) -> str:
        """Which interaction made it, as topics name them."""
        if self.current is None:
            return "delete"
        return "create" if self.previous is None else "update"

    @cached_property
    def previous_values(self) -> Values:
        """What the version before is found by."""
        return frozenset() if self.previous is None else index_values(self.previous)

    @cached_property
    def current_values(self) -> Values:
        """What the version is found by."""
        return frozenset() if self.current is None else index_values(self.current)

    @property
    def values(self) -> Values:
        """What filters are asked of: the version, or of a deletion the one before."""
        return self.previous_values if self.current is None else self.current_values


@dataclass(frozen=True)
class Trigger:
    """One kind of change that is an event (R5 SubscriptionTopic.resourceTrigger)."""

    resource_type: str
    interactions: frozenset[str]
    # None where the version is not asked about.
    previous: tuple[Clause, ...] | None
    current: tuple[Clause, ...] | None
    require_both: bool
    # What counts as the answer of the criteria where there is no version before, or none now.
    create_passes: bool
    delete_passes: bool
    expression: Expression | None

    def is_met(self, change: Change, now: datetime) -> bool:
        """Say whether a change is an event."""
        if change.type != self.resource_type or change.interaction not in self.interactions:
            return False
        return self._meets_query(change) and self._meets_expression(change, now)

    def _meets_query(self, change: Change) -> bool:
        answers = []
        if self.previous is not None:
            is_met = matches(self.previous, change.previous_values)
            answers.append(self.create_passes if change.previous is None else is_met)
        if self.current is not None:
            is_met = matches(self.current, change.current_values)
            answers.append(self.delete_passes if change.current is None else is_met)
        return (all if self.require_both else any)(answers or [True])

    def _meets_expression(self, change: Change, now: datetime) -> bool:
        if self.expression is None:
            return True
        focus = change.current if change.current is not None else change.previous
        assert focus is not None  # noqa: S101 - a change has a version
        variables: dict[str, object] = {
            "current": [] if change.current is None else root_element(change.current),
            "previous": [] if change.previous is None else root_element(change.previous),
        }
        try:
            found = self.expression.evaluate(
                focus, now=now, variables=variables, max_steps=_MAX_STEPS
            )
        except EhrError:
            # An expression that suits no such resource is met by none.
            return False
        return found == [True]


@dataclass(frozen=True)
class Topic:
    """One topic."""

    url: str
    title: str
    description: str
    triggers: tuple[Trigger, ...]
    # The search parameters that may filter it, by resource type.
    filters: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def resource_types(self) -> tuple[str, ...]:
        """The types of its events' records."""
        return tuple(dict.fromkeys(trigger.resource_type for trigger in self.triggers))

    def is_met(self, change: Change, now: datetime) -> bool:
        """Say whether a change is an event of the topic."""
        return any(trigger.is_met(change, now) for trigger in self.triggers)


def load_topics(folder: Path | None = None) -> dict[str, Topic]:
    """Return the topics by their canonical URL: those that come along, and those of a folder.

    Raises Unavailable for a file that is no topic, with its name and what is wrong.
    """
    sources: list[Any] = [*files("ehr_gateway").joinpath("rules/subscription_topics").iterdir()]
    if folder is not None:
        sources += folder.iterdir()
    topics: dict[str, Topic] = {}
    for source in sorted(sources, key=lambda source: source.name):
        if not source.name.endswith(".json"):
            continue
        try:
            topic = parse_topic(parse(source.read_bytes()))
        except (EhrError, UnknownParameter, KeyError, TypeError, AttributeError) as error:
            text = f"The file {source.name} is no subscription topic: {error}"
            raise Unavailable(text) from error
        topics[topic.url] = topic
    return topics


def parse_topic(resource: Mapping[str, Any]) -> Topic:
    """Parse a SubscriptionTopic; a `url` that is relative is one of the platform's own."""
    if resource.get("resourceType") != "SubscriptionTopic":
        raise Invalid("the resourceType is not SubscriptionTopic.")
    if resource.get("eventTrigger"):
        raise Invalid("eventTrigger is not served: describe the change as resourceTrigger.")
    triggers = tuple(_parse_trigger(one) for one in resource["resourceTrigger"])
    url = str(resource["url"])
    filters: dict[str, set[str]] = {}
    for one in resource.get("canFilterBy", ()):
        kinds: Iterable[str] = (
            [one["resource"]]
            if "resource" in one
            else [trigger.resource_type for trigger in triggers]
        )
        for kind in kinds:
            name = one["filterParameter"]
            # It can be told in memory, or the topic is refused.
            parse_clauses(kind, f"{name}:missing=false")
            filters.setdefault(kind, set()).add(name)
    return Topic(
        url=url if "://" in url else f"{JURISDICTION.fhir_base}/{url}",
        title=resource["title"],
        description=resource.get("description", ""),
        triggers=triggers,
        filters={kind: frozenset(names) for kind, names in filters.items()},
    )


def _parse_trigger(content: Mapping[str, Any]) -> Trigger:
    kind = content["resource"]
    if kind not in definitions.resource_types():
        raise Invalid("resourceTrigger.resource is no resource type of R4.")
    interactions = frozenset(content.get("supportedInteraction", _INTERACTIONS))
    if not interactions <= _INTERACTIONS:
        raise Invalid("supportedInteraction is create, update or delete.")
    query = content.get("queryCriteria", {})
    if unknown := set(query) - _QUERY_MEMBERS:
        raise Invalid(f"queryCriteria has no {', '.join(sorted(unknown))}.")
    expression = content.get("fhirPathCriteria")
    return Trigger(
        resource_type=kind,
        interactions=interactions,
        previous=_parse_criteria(kind, query.get("previous")),
        current=_parse_criteria(kind, query.get("current")),
        require_both=bool(query.get("requireBoth", False)),
        create_passes=_passes(query.get("resultForCreate")),
        delete_passes=_passes(query.get("resultForDelete")),
        expression=None if expression is None else fhirpath.compile(expression),
    )


def _parse_criteria(kind: str, criteria: str | None) -> tuple[Clause, ...] | None:
    return None if criteria is None else parse_clauses(kind, criteria)


def _passes(result: Literal["test-passes", "test-fails"] | None) -> bool:
    if result not in (None, "test-passes", "test-fails"):
        raise Invalid("resultForCreate and resultForDelete are test-passes or test-fails.")
    return result == "test-passes"
