"""What a record refers to, as far as the reader may see it: fetched by type, in few searches.

What is hidden and what is absent give the same answer here: no target, so that the reference shows
no more than the record itself says of it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ehr_fhir.compartments import patient_ids_of
from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_fhir.references import local_target
from ehr_portal.gateway.client import GatewayClient, Resource
from ehr_portal.i18n import N_, localizer_for
from ehr_portal.record.describe import Describer, LinkedRecord
from ehr_portal.record.descriptions import describe_type
from ehr_portal.record.display import Text, person_name, text_of_record
from ehr_portal.record.providers import parse_provider

# References of one type that are looked up. Chosen: the longest panel of a laboratory has fewer
# results; the search's address stays below the usual 8 kB.
MAX_TARGETS = 100
# Types that pages know by a name alone.
_NAMED_TYPES = frozenset({"Practitioner", "PractitionerRole", "Organization", "Location"})
# What is looked up besides on a record's page: what names it, by type and search parameter.
RELATED = {
    "DiagnosticReport": (("DocumentReference", "related"),),
    "Encounter": (
        ("Condition", "encounter"),
        ("Procedure", "encounter"),
        ("MedicationRequest", "encounter"),
        ("DiagnosticReport", "encounter"),
        ("DocumentReference", "encounter"),
    ),
}


class LinkedRecords:
    """The targets of a record's references, by reference."""

    def __init__(
        self, targets: Mapping[str, Resource], patient: str, base: str, language: str
    ) -> None:
        self.targets = targets
        self._patient = patient
        self._base = base
        self._language = language

    def find(self, reference: str) -> LinkedRecord | None:
        """Return what a reference leads to; None where the reader may not see it."""
        if reference == f"Patient/{self._patient}":
            title = localizer_for(self._language).translate(N_("The patient"))
            return LinkedRecord(Text(title, self._language))
        local = local_target(reference)
        target = self.targets.get(str(local) if local else reference)
        if target is None:
            return None
        resource_type, resource_id = target["resourceType"], target.get("id", "")
        is_page = describe_type(resource_type) is not None and not reference.startswith("#")
        is_own = self._patient in patient_ids_of(target)
        path = f"{self._base}/item/{resource_type}/{resource_id}"
        has_page = is_page and is_own and resource_type != "Patient"
        return LinkedRecord(self._title(target), path if has_page else "", target)

    def _title(self, target: Resource) -> Any:
        if target["resourceType"] in ("Practitioner", "Patient"):
            return text_of_record(str(person_name(target)))
        if target["resourceType"] == "Organization":
            return parse_provider(target).name_in(self._language)
        if target["resourceType"] == "Location":
            return text_of_record(str(target.get("name", "")))
        if target["resourceType"] == "PractitionerRole":
            inner = str(target.get("practitioner", {}).get("reference", ""))
            known = self.find(inner)
            shown = known.title if known else Text("", self._language)
            return (
                shown
                if shown.text
                else text_of_record(str(target.get("practitioner", {}).get("display", "")))
            )
        return Describer(self._language, links=self.find).title(target)


async def fetch_linked_records(
    gateway: GatewayClient, resource: Resource, patient: str, base: str, language: str
) -> LinkedRecords:
    """Fetch what a record's references lead to, one search for each type."""
    ids_by_type: dict[str, list[str]] = defaultdict(list)
    for reference in dict.fromkeys(_references_in(resource)):
        target = local_target(reference)
        if target is None or (target.type, target.id) == ("Patient", patient):
            continue
        if target.type in _NAMED_TYPES or describe_type(target.type):
            ids_by_type[target.type].append(target.id)
    searches = (_search_ids(gateway, kind, ids[:MAX_TARGETS]) for kind, ids in ids_by_type.items())
    found = await asyncio.gather(*searches)
    targets = {f"{r['resourceType']}/{r['id']}": r for resources in found for r in resources}
    for contained in resource.get("contained", ()):
        targets[f"#{contained.get('id', '')}"] = contained
    return LinkedRecords(targets, patient, base, language)


async def fetch_related(gateway: GatewayClient, resource: Resource) -> list[Resource]:
    """Return the records that name this one: the documents of a report, what a visit led to."""
    reference = f"{resource['resourceType']}/{resource['id']}"
    searches = (
        _search(gateway, kind, {parameter: reference, "_count": str(MAX_TARGETS)})
        for kind, parameter in RELATED.get(resource["resourceType"], ())
    )
    return [found for resources in await asyncio.gather(*searches) for found in resources]


async def _search_ids(
    gateway: GatewayClient, resource_type: str, ids: Iterable[str]
) -> Iterable[Resource]:
    params = {"_id": ",".join(ids), "_count": str(MAX_TARGETS)}
    return await _search(gateway, resource_type, params)


async def _search(
    gateway: GatewayClient, resource_type: str, params: Mapping[str, str]
) -> Iterable[Resource]:
    try:
        return (await gateway.search(resource_type, params)).matches
    except (Forbidden, NotFound, Invalid):
        # Not covered by the token: as good as absent.
        return ()


def _references_in(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "reference" and isinstance(value, str):
                yield value
            elif key != "meta":
                yield from _references_in(value)
    elif isinstance(node, list):
        for part in node:
            yield from _references_in(part)
