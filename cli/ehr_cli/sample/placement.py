"""Decide which Hong Kong organisation wrote each record of the sample.

Synthea's patients see many small American providers. Here everyone has a main and a second place
they visit and a hospital that admits them (hong_kong.toml, `home`), so that sharing matters.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ehr_cli.sample import synthea_source
from ehr_cli.sample.hong_kong import read_setting
from ehr_cli.sample.select import ACUTE

# "The patient" of the demo: alive, with thirteen acute stays and a record in every domain.
FIRST_PATIENT = "42de611e-269f-4c0d-079f-88e83a562ad4"


@dataclass(frozen=True)
class Placement:
    """Who wrote what: records by 'Type/id', encounters by their class."""

    patients: tuple[str, ...]
    main: dict[str, str]
    organization: dict[str, str]
    site: dict[str, str]

    def of(self, resource: dict[str, Any]) -> str:
        """Return the organisation that wrote a record."""
        return self.organization[f"{resource['resourceType']}/{resource['id']}"]

    def site_of(self, resource: dict[str, Any]) -> str:
        """Return the id of the Location where a record was made."""
        organization = self.of(resource)
        site = self.site.get(encounter_of(resource), "outpatient")
        return location_id(organization, site)


def place_records() -> Placement:
    """Place every record of the committed sample."""
    patients = _ordered_patients()
    homes = {
        p: read_setting()["home"][i % len(read_setting()["home"])] for i, p in enumerate(patients)
    }
    organization, site = _place_encounters(homes)
    for kind in synthea_source.resource_types():
        if kind in synthea_source.DIRECTORY_TYPES or kind == "Encounter":
            continue
        for resource in synthea_source.read_resources(kind):
            at = organization.get(f"Encounter/{encounter_of(resource)}")
            home = homes[synthea_source.patient_of(resource)]["main"]
            organization[f"{kind}/{resource['id']}"] = at or home
    main = {patient: home["main"] for patient, home in homes.items()}
    return Placement(patients, main, organization, site)


def encounter_of(resource: dict[str, Any]) -> str:
    """Return the id of the encounter a Synthea record hangs on, '' for none."""
    if resource["resourceType"] == "Encounter":
        return str(resource["id"])
    return next((r["reference"].rpartition("/")[2] for r in _encounter_references(resource)), "")


def location_id(organization: str, site: str) -> str:
    """Return the id of an organisation's site; a clinic has only its consulting rooms."""
    kind = next(o["kind"] for o in read_setting()["organization"] if o["id"] == organization)
    return f"{organization}-{site if kind == 'hospital' else 'outpatient'}"


def _encounter_references(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    context = resource.get("context", {})
    yield from (r for r in (resource.get("encounter"), context) if r and "reference" in r)
    yield from context.get("encounter", [])
    for item in resource.get("item", []):
        yield from item.get("encounter", [])


def _ordered_patients() -> tuple[str, ...]:
    ids = sorted(patient["id"] for patient in synthea_source.read_resources("Patient"))
    ids.remove(FIRST_PATIENT)
    return (FIRST_PATIENT, *ids)


def _place_encounters(homes: dict[str, dict[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    visits: dict[str, Counter[str]] = defaultdict(Counter)
    for encounter in synthea_source.read_resources("Encounter"):
        visits[synthea_source.patient_of(encounter)][encounter["serviceProvider"]["reference"]] += 1
    usual = {patient: count.most_common(1)[0][0] for patient, count in visits.items()}
    sites = {name: site["kind"] for site in read_setting()["site"] for name in site["classes"]}
    organization: dict[str, str] = {}
    site: dict[str, str] = {}
    for encounter in synthea_source.read_resources("Encounter"):
        patient, kind = synthea_source.patient_of(encounter), encounter["class"]["code"]
        at_usual = encounter["serviceProvider"]["reference"] == usual[patient]
        role = "hospital" if kind in ACUTE else "main" if at_usual else "second"
        home = homes[patient][role]
        organization[f"Encounter/{encounter['id']}"] = home
        site[encounter["id"]] = sites[kind]
    return organization, site
