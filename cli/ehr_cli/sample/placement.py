"""Which Hong Kong organisation wrote each record of the sample.

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
    """Who wrote what, and where."""

    # In the order of the demo: the first is "the patient".
    patients: tuple[str, ...]
    # Patient id -> the organisation they visit most.
    main: dict[str, str]
    # "Type/id" of a record -> the organisation that wrote it.
    organization: dict[str, str]
    # Encounter id -> the kind of site, such as "ward".
    site: dict[str, str]

    def organization_of(self, resource: dict[str, Any]) -> str:
        """Return the organisation that wrote a record."""
        return self.organization[f"{resource['resourceType']}/{resource['id']}"]

    def site_of(self, resource: dict[str, Any]) -> str:
        """Return the id of the Location where a record was made."""
        organization = self.organization_of(resource)
        site = self.site.get(encounter_of(resource), "outpatient")
        return location_id(organization, site)


def place_records() -> Placement:
    """Place every record of the committed sample."""
    patients = _ordered_patients()
    homes = read_setting()["home"]
    home_of = {patient: homes[position % len(homes)] for position, patient in enumerate(patients)}
    organization, site = _place_encounters(home_of)
    for resource_type in synthea_source.resource_types():
        if resource_type in synthea_source.DIRECTORY_TYPES or resource_type == "Encounter":
            continue
        for resource in synthea_source.read_resources(resource_type):
            of_encounter = organization.get(f"Encounter/{encounter_of(resource)}")
            main = home_of[synthea_source.patient_of(resource)]["main"]
            organization[f"{resource_type}/{resource['id']}"] = of_encounter or main
    main_of = {patient: home["main"] for patient, home in home_of.items()}
    return Placement(patients, main_of, organization, site)


def encounter_of(resource: dict[str, Any]) -> str:
    """Return the id of the encounter a Synthea record belongs to, '' for none."""
    if resource["resourceType"] == "Encounter":
        return str(resource["id"])
    references = _encounter_references(resource)
    return next((reference["reference"].rpartition("/")[2] for reference in references), "")


def location_id(organization: str, site: str) -> str:
    """Return the id of an organisation's site; a clinic has only its consulting rooms."""
    kind = next(row["kind"] for row in read_setting()["organization"] if row["id"] == organization)
    return f"{organization}-{site if kind == 'hospital' else 'outpatient'}"


def _encounter_references(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    context = resource.get("context", {})
    for reference in (resource.get("encounter"), context):
        if reference and "reference" in reference:
            yield reference
    yield from context.get("encounter", [])
    for item in resource.get("item", []):
        yield from item.get("encounter", [])


def _ordered_patients() -> tuple[str, ...]:
    ids = sorted(patient["id"] for patient in synthea_source.read_resources("Patient"))
    ids.remove(FIRST_PATIENT)
    return (FIRST_PATIENT, *ids)


def _place_encounters(
    home_of: dict[str, dict[str, str]],
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the organisation of each "Encounter/id" and the kind of site of each id."""
    visits: dict[str, Counter[str]] = defaultdict(Counter)
    for encounter in synthea_source.read_resources("Encounter"):
        visits[synthea_source.patient_of(encounter)][_synthea_provider(encounter)] += 1
    usual = {patient: count.most_common(1)[0][0] for patient, count in visits.items()}
    site_by_class = {
        code: site["kind"] for site in read_setting()["site"] for code in site["classes"]
    }
    organization: dict[str, str] = {}
    site: dict[str, str] = {}
    for encounter in synthea_source.read_resources("Encounter"):
        patient, class_code = synthea_source.patient_of(encounter), encounter["class"]["code"]
        is_usual = _synthea_provider(encounter) == usual[patient]
        role = "hospital" if class_code in ACUTE else "main" if is_usual else "second"
        organization[f"Encounter/{encounter['id']}"] = home_of[patient][role]
        site[encounter["id"]] = site_by_class[class_code]
    return organization, site


def _synthea_provider(encounter: dict[str, Any]) -> str:
    return str(encounter["serviceProvider"]["reference"])
