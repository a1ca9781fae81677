"""The gateway's operations for access beyond sharing, in the words of the pages.

A Parameters resource comes in and goes out; here it becomes values with names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ehr_fhir.errors import Forbidden, NotFound
from ehr_portal.gateway.client import Gateway, Resource

Values = Mapping[str, list[str]]


@dataclass(frozen=True)
class Marker:
    """What the gateway lets a clinician know of what is withheld."""

    shared: bool = True
    hidden: bool = False
    domains: tuple[str, ...] = ()

    @property
    def says(self) -> bool:
        """Return whether there is anything to say."""
        return self.hidden or bool(self.domains)


@dataclass(frozen=True)
class Step:
    """One request for access, carer, hold or review, as an operation tells it."""

    values: Values

    def __getattr__(self, name: str) -> str:
        """Return a part by its name; empty where it is not told."""
        if name.startswith("_"):
            raise AttributeError(name)
        return next(iter(self.values.get(name.replace("_", "-"), [])), "")

    @property
    def domains(self) -> list[str]:
        """Return the domains it is about."""
        return self.values.get("domain", [])


def parameters(**given: str | int | Sequence[str] | None) -> Resource:
    """Return a Parameters resource; what is None or empty is left out."""
    listed: list[dict[str, str | int]] = []
    for name, value in given.items():
        key = name.replace("_", "-")
        if isinstance(value, int):
            listed.append({"name": key, "valueInteger": value})
        elif isinstance(value, str):
            listed += [{"name": key, "valueString": value}] if value else []
        else:
            listed += [{"name": key, "valueString": one} for one in value or ()]
    return {"resourceType": "Parameters", "parameter": listed}


def values(answer: Resource) -> Values:
    """Return the plain parameters of an answer by name, as text."""
    return _values(answer.get("parameter", ()))


def steps(answer: Resource, name: str) -> list[Step]:
    """Return the parameters of a name that have parts."""
    return [
        Step(_values(one.get("part", ())))
        for one in answer.get("parameter", ())
        if one["name"] == name
    ]


async def marker(gateway: Gateway, patient: str) -> Marker:
    """Return what is told of what is withheld."""
    try:
        told = values(await gateway.ask(f"Patient/{patient}/$withheld"))
    except (NotFound, Forbidden):
        return Marker()
    return Marker(
        shared=told.get("shared", ["true"]) == ["true"],
        hidden=told.get("hidden") == ["true"],
        domains=tuple(told.get("domain", ())),
    )


async def listed(gateway: Gateway, path: str, name: str) -> list[Step]:
    """Return what an operation lists; nothing where it is not for this person."""
    try:
        return steps(await gateway.ask(path), name)
    except (NotFound, Forbidden):
        return []


def _values(parts: Iterable[Resource]) -> Values:
    found: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        for key, value in part.items():
            if key.startswith("value"):
                found[part["name"]].append(
                    str(value).lower() if isinstance(value, bool) else str(value)
                )
    return dict(found)
