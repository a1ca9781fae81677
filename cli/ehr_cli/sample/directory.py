"""The sample's organisations, their sites and their staff as FHIR resources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ehr_cli.sample import synthea_source
from ehr_cli.sample.hong_kong import SYSTEM, Name, read_setting
from ehr_cli.sample.rewrite import (
    organization_row,
    practitioner_id,
    practitioner_name,
    with_source,
)
from ehr_fhir.jurisdiction import JURISDICTION

DEEMED = f"{SYSTEM}/fhir/StructureDefinition/deemed-sharing"
STAFF = f"{SYSTEM}/identifier/staff"


def build_organizations() -> Iterator[dict[str, Any]]:
    """Yield the four providers and the platform itself."""
    for row in read_setting()["organization"]:
        resource: dict[str, Any] = {
            "resourceType": "Organization",
            "id": row["id"],
            "identifier": [{"system": f"{SYSTEM}/identifier/organization", "value": row["id"]}],
            "active": True,
            "type": [_provider(row["kind"])],
            "name": row["name"],
            "alias": [row["name_zh"]],
            "telecom": [{"system": "phone", "value": row["phone"], "use": "work"}],
            "address": [_address(row)],
        }
        if "deemed_since" in row:
            period = {"start": row["deemed_since"]}
            resource["extension"] = [{"url": DEEMED, "valuePeriod": period}]
        yield with_source(resource, "ehr-commons")


def build_sites() -> Iterator[dict[str, Any]]:
    """Yield the places inside each organisation."""
    for row in read_setting()["organization"]:
        for site in read_setting()["site"]:
            if row["kind"] == "hospital" or (row["kind"], site["kind"]) == ("clinic", "outpatient"):
                yield _build_site(row, site)


def build_practitioners(practitioners_at: Iterable[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield a Practitioner and a PractitionerRole for each author, and for staff who log in."""
    gender = {
        p["identifier"][0]["value"]: p["gender"]
        for p in synthea_source.read_resources("Practitioner")
    }
    roles = {
        r["practitioner"]["identifier"]["value"]: r
        for r in synthea_source.read_resources("PractitionerRole")
    }
    for npi, organization_id in practitioners_at:
        resource_id, name = (
            practitioner_id(npi, organization_id),
            practitioner_name(npi, organization_id),
        )
        yield _build_practitioner(resource_id, name, organization_id, resource_id, gender[npi])
        yield _build_role(
            resource_id, organization_id, {k: roles[npi][k] for k in ("code", "specialty")}
        )
    for row in read_setting()["staff"]:
        name = Name(*row["name"], *row["name_zh"])
        resource_id = row["login"].replace(".", "-")
        yield _build_practitioner(resource_id, name, row["organization"], row["login"], None)
        title = row.get("profession", row["role"])
        yield _build_role(resource_id, row["organization"], {"code": [{"text": title}]})


def _build_site(row: dict[str, Any], site: dict[str, Any]) -> dict[str, Any]:
    resource = {
        "resourceType": "Location",
        "id": f"{row['id']}-{site['kind']}",
        "status": "active",
        "name": f"{row['name']}, {site['name']}",
        "alias": [f"{row['name_zh']}{site['name_zh']}"],
        "telecom": [{"system": "phone", "value": row["phone"], "use": "work"}],
        "address": _address(row),
        "managingOrganization": _organization(row["id"]),
    }
    return with_source(resource, row["id"])


def _build_practitioner(
    resource_id: str, name: Name, organization_id: str, number: str, gender: str | None
) -> dict[str, Any]:
    resource = {
        "resourceType": "Practitioner",
        "id": resource_id,
        "identifier": [{"system": STAFF, "value": number}],
        "active": True,
        "name": name.fhir(),
    }
    return with_source({**resource, "gender": gender} if gender else resource, organization_id)


def _build_role(resource_id: str, organization_id: str, what: dict[str, Any]) -> dict[str, Any]:
    resource = {
        "resourceType": "PractitionerRole",
        "id": f"role-{resource_id}",
        "active": True,
        "practitioner": {"reference": f"Practitioner/{resource_id}"},
        "organization": _organization(organization_id),
        **what,
    }
    return with_source(resource, organization_id)


def _organization(organization_id: str) -> dict[str, str]:
    return {
        "reference": f"Organization/{organization_id}",
        "display": organization_row(organization_id)["name"],
    }


def _provider(kind: str) -> dict[str, Any]:
    code, display = ("other", "Other") if kind == "platform" else ("prov", "Healthcare Provider")
    system = "http://terminology.hl7.org/CodeSystem/organization-type"
    return {"coding": [{"system": system, "code": code, "display": display}], "text": kind}


def _address(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "use": "work",
        "line": [row["line"]],
        "district": row["district"],
        "city": "Hong Kong",
        "country": JURISDICTION.country,
    }
