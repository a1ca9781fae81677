"""De-identification by closures beside a columnar pass over the same Observations.

Run by `python -m tests.perf.bench_deid_columnar FOLDER`. The columnar pass is a sketch in DuckDB of
what is most of the work: the allow-list as the types of the JSON that is read, pseudonyms (SHA-256
of key and value, a function that DuckDB has, for HMAC), dates moved by weeks that are joined by
patient, forms of codes as one expression by system, closed lists of statuses. It does *not* do what
looks at a whole record: modifiers, contained records, ages, known dates, birth years, units by
UCUM's grammar, check digits. So its figure is the best that a columnar pass could do.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from ehr_privacy.deid import Deidentifier, load_rules, shift_days

_KEY = b"k" * 32
_CONCEPT = {"coding": [{"system": "VARCHAR", "code": "VARCHAR", "userSelected": "BOOLEAN"}]}
_QUANTITY = {"value": "DOUBLE", "comparator": "VARCHAR", "system": "VARCHAR", "code": "VARCHAR"}
_REFERENCE = {"reference": "VARCHAR"}
# What DuckDB reads of a record: nothing else is there.
_RECORD = {
    "id": "VARCHAR",
    "status": "VARCHAR",
    "category": [_CONCEPT],
    "code": _CONCEPT,
    "subject": _REFERENCE,
    "encounter": _REFERENCE,
    "effectiveDateTime": "VARCHAR",
    "valueQuantity": _QUANTITY,
    "valueCodeableConcept": _CONCEPT,
    "component": [{"code": _CONCEPT, "valueQuantity": _QUANTITY, "valueCodeableConcept": _CONCEPT}],
}
_STATUSES = "('final', 'amended', 'corrected', 'preliminary', 'registered')"


def scrub_by_closures(lines: list[bytes]) -> int:
    """De-identify by the compiled rules, JSON text to JSON text; return how many are kept."""
    deidentifier = Deidentifier(load_rules(), _KEY)
    scrubbed = (deidentifier.scrub(orjson.loads(line)) for line in lines)
    return len([orjson.dumps(one) for one in scrubbed if one is not None])


def scrub_by_columns(lines: list[bytes]) -> int:
    """De-identify in one SQL query, JSON text to JSON text; return how many are kept."""
    connection = duckdb.connect(config={"threads": 1})
    names = {orjson.loads(line)["subject"]["reference"] for line in lines}
    connection.register(
        "shifts",
        pa.table(
            {
                "patient": sorted(names),
                "days": [shift_days(_KEY, name.partition("/")[2]) for name in sorted(names)],
            }
        ),
    )
    connection.register("lines", pa.table({"line": [line.decode() for line in lines]}))
    pseudonym = "left(sha256('kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk' || {0}), 32)"
    reference = "split_part({0}, '/', 1) || '/' || " + pseudonym
    is_known = (
        "CASE coding_.system WHEN 'http://loinc.org'"
        " THEN regexp_full_match(coding_.code, '[1-9]\\d{0,5}-\\d|L[APL]\\d+-\\d')"
        " WHEN 'http://snomed.info/sct' THEN regexp_full_match(coding_.code, '[1-9]\\d{5,17}')"
        " ELSE starts_with(coding_.system, 'http://terminology.hl7.org/') END"
    )

    def concept(value: str) -> str:
        return f"{{'coding': list_filter({value}.coding, lambda coding_: {is_known})}}"

    sql = f"""
        WITH read AS (SELECT from_json(line, '{orjson.dumps(_RECORD).decode()}') AS r FROM lines)
        SELECT to_json({{
            'resourceType': 'Observation',
            'id': {pseudonym.format("'Observation/' || r.id")},
            'status': r.status,
            'category': list_transform(r.category, lambda one_: {concept("one_")}),
            'code': {concept("r.code")},
            'subject': {{'reference': {reference.format("r.subject.reference")}}},
            'encounter': {{'reference': {reference.format("r.encounter.reference")}}},
            'effectiveDateTime':
                TRY_CAST(left(r.effectiveDateTime, 10) AS DATE) + CAST(days AS INTEGER),
            'valueQuantity': r.valueQuantity,
            'valueCodeableConcept': {concept("r.valueCodeableConcept")},
            'component': list_transform(r.component, lambda part_: {{
                'code': {concept("part_.code")}, 'valueQuantity': part_.valueQuantity,
                'valueCodeableConcept': {concept("part_.valueCodeableConcept")}
            }})
        }})
        FROM read JOIN shifts ON patient = r.subject.reference
        WHERE r.status IN {_STATUSES}
    """
    return len(connection.sql(sql).to_arrow_table())


def main(folder: Path) -> None:
    """Print the figures for the Observations of a folder of NDJSON."""
    lines = [
        line
        for path in sorted(folder.glob("*.ndjson.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
        if b'"resourceType":"Observation"' in line[:100]
    ]
    for name, scrub in (("closures", scrub_by_closures), ("columns", scrub_by_columns)) * 3:
        started = time.process_time()
        kept = scrub(lines)
        seconds = time.process_time() - started
        sys.stdout.write(
            f"{name}: {len(lines)} Observations, {kept} kept, {len(lines) / seconds:,.0f}/s by "
            f"processor time, load {os.getloadavg()[0]:.1f}\n"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/synthea-r4-bulk-47"))
