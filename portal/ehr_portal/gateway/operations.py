"""The gateway's FHIR operations on access: Parameters built for requests, parsed from answers.

Nothing is decided here; `pages/` says which operation is invoked when.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ehr_fhir.errors import Forbidden, NotFound
from ehr_portal.gateway.client import GatewayClient, Resource

Values = Mapping[str, list[str]]


@dataclass(frozen=True)
class WithheldMarker:
    """The answer of `$withheld`: how much a clinician may know of what is withheld."""

    shared: bool = True
    # Something is withheld, and its domain may not be named.
    hidden: bool = False
    domains: tuple[str, ...] = ()

    @property
    def has_content(self) -> bool:
        """Return whether there is anything to tell the clinician."""
        return self.hidden or bool(self.domains)


@dataclass(frozen=True)
class MultiPartParameter:
    """One multi-part parameter of a Parameters resource, such as one request for access.

    >>> request = MultiPartParameter({"id": ["7"], "each-access": ["true"]})
    >>> request.id, request.each_access, request.reason
    ('7', 'true', '')
    """

    values: Values
    # As they were answered, for those that have parts of their own.
    parts: Sequence[Resource] = ()

    def __getattr__(self, name: str) -> str:
        """Return the first value of a part; empty where the part is absent."""
        # Templates and copies probe for dunder names; those are no parts.
        if name.startswith("_"):
            raise AttributeError(name)
        return next(iter(self.values.get(name.replace("_", "-"), [])), "")

    def parse_parts(self, name: str) -> list[MultiPartParameter]:
        """Return its parts of a name that have parts themselves, in the answer's order."""
        return _parse_named(self.parts, name)

    @property
    def domains(self) -> list[str]:
        """Return the codes of the data domains it is about."""
        return self.values.get("domain", [])


def build_parameters(**values: str | int | Sequence[str] | None) -> Resource:
    """Return a Parameters resource; what is None or empty is left out.

    >>> build_parameters(each_access="yes", hours=24, domain=["allergy"], until=None)["parameter"]
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'name': 'each-access', 'valueString': 'yes'}, {'name': 'hours', 'valueInteger': 24},
     {'name': 'domain', 'valueString': 'allergy'}]
    """
    parameters: list[dict[str, str | int]] = []
    for keyword, value in values.items():
        name = keyword.replace("_", "-")
        if isinstance(value, int):
            parameters.append({"name": name, "valueInteger": value})
        elif isinstance(value, str):
            parameters += [{"name": name, "valueString": value}] if value else []
        else:
            parameters += [{"name": name, "valueString": item} for item in value or ()]
    return {"resourceType": "Parameters", "parameter": parameters}


def dash_if_empty(text: str) -> str:
    """Return a required text; a dash for an empty one, which Parameters would leave out.

    The gateway judges the dash as too short, and says so of the parameter.
    """
    return text or "-"


def parse_values(answer: Resource) -> Values:
    """Return the parameters of an answer that hold a value, by name and as text."""
    return _collect_values(answer.get("parameter", ()))


def parse_multi_parts(answer: Resource, name: str) -> list[MultiPartParameter]:
    """Return the multi-part parameters of a name, in the answer's order."""
    return _parse_named(answer.get("parameter", ()), name)


async def fetch_withheld_marker(gateway: GatewayClient, patient: str) -> WithheldMarker:
    """Invoke `$withheld` and parse its response; an empty marker where it is refused."""
    try:
        values = parse_values(await gateway.invoke_by_get(f"Patient/{patient}/$withheld"))
    except (NotFound, Forbidden):
        return WithheldMarker()
    return WithheldMarker(
        shared=values.get("shared", ["true"]) == ["true"],
        hidden=values.get("hidden") == ["true"],
        domains=tuple(values.get("domain", ())),
    )


async def fetch_access_requests(gateway: GatewayClient, patient: str) -> list[MultiPartParameter]:
    """Return every request for access to a patient's record, emergencies among them."""
    return await _fetch_multi_parts(gateway, f"Patient/{patient}/$access-requests", "request")


async def fetch_health_links(gateway: GatewayClient, patient: str) -> list[MultiPartParameter]:
    """Return the links that open a patient's summary, the newest first."""
    return await _fetch_multi_parts(gateway, f"Patient/{patient}/$health-links", "link")


async def fetch_held_results(gateway: GatewayClient, patient: str) -> list[MultiPartParameter]:
    """Return the results that are held back from the patient now."""
    return await _fetch_multi_parts(gateway, f"Patient/{patient}/$held", "held")


async def fetch_carers(gateway: GatewayClient, patient: str) -> list[MultiPartParameter]:
    """Return who may act for the patient, and the invitations nobody has accepted yet."""
    return await _fetch_multi_parts(gateway, f"Patient/{patient}/$carers", "carer")


async def fetch_acting_for(gateway: GatewayClient) -> list[MultiPartParameter]:
    """Return the patients for whom the logged-in carer may act."""
    return await _fetch_multi_parts(gateway, "$acting-for", "person")


async def fetch_corrections(gateway: GatewayClient, record: str) -> list[MultiPartParameter]:
    """Return the requests for a correction of a record, or of a whole Patient, newest first."""
    return await _fetch_multi_parts(gateway, f"{record}/$corrections", "correction")


async def _fetch_multi_parts(
    gateway: GatewayClient, path: str, name: str
) -> list[MultiPartParameter]:
    # An operation that is not for this person lists nothing: the page shows the rest.
    try:
        return parse_multi_parts(await gateway.invoke_by_get(path), name)
    except (NotFound, Forbidden):
        return []


def _parse_named(parts: Iterable[Resource], name: str) -> list[MultiPartParameter]:
    return [
        MultiPartParameter(_collect_values(part.get("part", ())), part.get("part", ()))
        for part in parts
        if part["name"] == name
    ]


def _collect_values(parts: Iterable[Resource]) -> Values:
    values: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        for key, value in part.items():
            if key.startswith("value"):
                values[part["name"]].append(
                    str(value).lower() if isinstance(value, bool) else str(value)
                )
    return dict(values)
