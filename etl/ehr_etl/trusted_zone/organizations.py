"""Names of organisations: they are about no patient, and published beside counts by hospital."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson
import pyarrow.compute as pc

from ehr_etl.lake import Lake

__all__ = ["OrganizationName", "read_organization_names"]

_HAN = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True)
class OrganizationName:
    """The name of an organisation in Latin letters and in Chinese; either may be empty."""

    latin: str
    han: str


def read_organization_names(lake: Lake) -> dict[str, OrganizationName]:
    """Return the names of all organisations of silver by id."""
    dataset = lake.open_table("silver").to_pyarrow_dataset()
    wanted = (pc.field("type") == "Organization") & ~pc.field("deleted")
    rows = dataset.to_table(columns=["id", "resource"], filter=wanted).to_pylist()
    return {row["id"]: _find_names(orjson.loads(row["resource"])) for row in rows}


def _find_names(organization: dict[str, object]) -> OrganizationName:
    alias = organization.get("alias")
    names = [organization.get("name"), *(alias if isinstance(alias, list) else ())]
    texts = [name for name in names if isinstance(name, str)]
    return OrganizationName(
        latin=next((name for name in texts if not _HAN.search(name)), ""),
        han=next((name for name in texts if _HAN.search(name)), ""),
    )
