"""Who works with data for research: their affiliation and training, as the gateway tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import parse_multi_parts
from ehr_portal.i18n import N_

__all__ = ["STATE_COLOURS", "STATE_TITLES", "Researcher", "Training", "parse_researchers"]

# Of somebody's training, the most pressing first.
STATE_TITLES = {
    "none": N_("No training on record"),
    "expired": N_("Training has expired"),
    "expiring": N_("Training expires soon"),
    "trained": N_("Trained"),
}
STATE_COLOURS = {"none": "red", "expired": "red", "expiring": "yellow", "trained": "green"}
# Chosen: time enough to take a course again.
_SOON = timedelta(days=30)


@dataclass(frozen=True)
class Training:
    """A course, the ISO day it was taken, and the first day on which it holds no more."""

    course: str
    day: str
    expires: str


@dataclass(frozen=True)
class Researcher:
    """Somebody who works with data; `projects` are the ids of those that are not closed."""

    person: str
    affiliation: str
    trainings: tuple[Training, ...]
    projects: tuple[str, ...]

    @property
    def expires(self) -> str:
        """The first day on which they may not work; empty without a training."""
        return min((training.expires for training in self.trainings), default="")

    def state_on(self, day: date) -> str:
        """Return the state of their training on a day, one of `STATE_TITLES`."""
        if not self.expires:
            return "none"
        if self.expires <= day.isoformat():
            return "expired"
        return "expiring" if self.expires <= (day + _SOON).isoformat() else "trained"


def parse_researchers(answer: Resource, day: date) -> list[Researcher]:
    """Return the people of the answer of `$research-people`, the most pressing first."""
    researchers = [
        Researcher(
            person=part.person,
            affiliation=part.affiliation,
            trainings=tuple(
                Training(each.course, each.day, each.expires)
                for each in part.parse_parts("training")
            ),
            projects=tuple(part.values.get("project", ())),
        )
        for part in parse_multi_parts(answer, "researcher")
    ]
    return _sort_by_need(researchers, day)


def _sort_by_need(researchers: Iterable[Researcher], day: date) -> list[Researcher]:
    needs = list(STATE_TITLES)
    return sorted(
        researchers, key=lambda each: (needs.index(each.state_on(day)), each.expires, each.person)
    )
