"""The tables of the deterioration task from the lake's records, inside the trusted zone.

Exactly the records are read that research may use, each under the lake's pseudonym of its person.
Their times are whole, which is why no row of these tables leaves the zone.
"""

from __future__ import annotations

from ehr_etl.lake import Lake
from ehr_etl.trusted_zone.visits import read_allowed_records
from ehr_models.ward.tables import WardReader, WardTables


def read_ward(lake: Lake, key: bytes, now_ms: int) -> WardTables:
    """Return the tables; `key` is that of the lake's pseudonyms.

    NotFound where the lake has no records yet.
    """
    reader = WardReader()
    for resource_type in ("Patient", "Encounter", "Observation"):
        for person, resource, _ in read_allowed_records(lake, key, now_ms, resource_type):
            reader.add(person, resource)
    return reader.finish()
