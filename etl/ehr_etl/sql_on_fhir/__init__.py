"""SQL on FHIR v2: ViewDefinitions compiled once, for Spark and for DuckDB.

In: a ViewDefinition as parsed JSON; its paths are read by `ehr_fhir.fhirpath`, the one parser.
Out: a `CompiledView`, an intermediate representation that a dialect writes as one query;
Unprocessable, with the place, before any row is read. No Python is in the row path.
May import: `ehr_fhir` (the syntax tree, R4's definitions) and `ehr_etl.spark` for SQL text.
"""

from ehr_etl.sql_on_fhir.compiler import (
    CompiledView,
    OutputColumn,
    compile_parts,
    compile_view,
)
from ehr_etl.sql_on_fhir.definition import ViewDefinition, parse_view
from ehr_etl.sql_on_fhir.duckdb_dialect import DuckDbDialect
from ehr_etl.sql_on_fhir.spark_dialect import SparkDialect

__all__ = [
    "CompiledView",
    "DuckDbDialect",
    "OutputColumn",
    "SparkDialect",
    "ViewDefinition",
    "compile_parts",
    "compile_view",
    "parse_view",
]
