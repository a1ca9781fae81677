"""Who listens to what, in memory: from a topic and a value to the subscriptions that wait for it.

A change is looked up by its own values, so what a write costs does not grow with the number of
subscriptions, but with those that it concerns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ehr_fhir.search.filters import Clause
from ehr_gateway.subscriptions.matching import Key, clause_keys, matches
from ehr_gateway.subscriptions.topics import Change, Topic

__all__ = ["Listener", "SubscriptionIndex"]

# A place in the index: a patient's own record, or the type of the records and a key of them (None
# where nothing narrows them).
_Place = tuple[str, Key | None]
_OWN_RECORD = "own-record"


@dataclass(frozen=True)
class Listener:
    """What one subscription waits for."""

    id: str
    topic: str
    filters: Mapping[str, tuple[Clause, ...]]
    since_position: int
    # The patient whose app it is: it is told of that record alone.
    patient: str | None


class SubscriptionIndex:
    """The listeners of one process; not safe to share between threads."""

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self._topics = topics
        self._listeners: dict[str, Listener] = {}
        self._by_topic: dict[str, dict[_Place, set[str]]] = defaultdict(lambda: defaultdict(set))

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def resource_types(self) -> frozenset[str]:
        """The types of records that anybody waits for."""
        return frozenset(
            kind
            for url, places in self._by_topic.items()
            if places
            for kind in self._topics[url].resource_types
        )

    def add(self, listener: Listener) -> None:
        """Add a listener, in place of the one with its id."""
        self.remove(listener.id)
        if listener.topic not in self._topics:
            return
        self._listeners[listener.id] = listener
        for place in self._places(listener):
            self._by_topic[listener.topic][place].add(listener.id)

    def remove(self, identity: str) -> None:
        """Take a listener out, if it is there."""
        listener = self._listeners.pop(identity, None)
        if listener is None:
            return
        places = self._by_topic[listener.topic]
        for place in self._places(listener):
            places[place].discard(identity)
            if not places[place]:
                del places[place]

    def find(
        self, change: Change, patients: Collection[str], position: int, now: datetime
    ) -> list[Listener]:
        """Return whom a version at a position of the feed concerns; `patients` are whose it is."""
        found: dict[str, Listener] = {}
        for url, places in self._by_topic.items():
            topic = self._topics[url]
            if not places or not topic.is_met(change, now):
                continue
            for identity in self._candidates(places, change, patients):
                listener = self._listeners[identity]
                if (
                    position > listener.since_position
                    and (listener.patient is None or listener.patient in patients)
                    and matches(listener.filters.get(change.type, ()), change.values)
                ):
                    found[identity] = listener
        return list(found.values())

    @staticmethod
    def _candidates(
        places: Mapping[_Place, set[str]], change: Change, patients: Iterable[str]
    ) -> Iterable[str]:
        wanted: list[_Place] = [(change.type, None)]
        wanted += [(change.type, key) for key in change.values]
        wanted += [(_OWN_RECORD, ("", None, patient)) for patient in patients]
        for place in wanted:
            if place in places:
                yield from places[place]

    def _places(self, listener: Listener) -> list[_Place]:
        """Return where a listener stands: for each type by the clause that narrows it most."""
        if listener.patient is not None:
            return [(_OWN_RECORD, ("", None, listener.patient))]
        places: list[_Place] = []
        for kind in self._topics[listener.topic].resource_types:
            plain = [one for one in listener.filters.get(kind, ()) if one.modifier is None]
            if plain:
                # References lead to one patient or visit; tokens say what kind of record it is.
                best = min(plain, key=lambda one: one.parameter.type != "reference")
                places += [(kind, key) for key in clause_keys(best)]
            else:
                places.append((kind, None))
        return places
