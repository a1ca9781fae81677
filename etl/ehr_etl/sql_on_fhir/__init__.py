"""SQL on FHIR v2: ViewDefinitions compiled to Spark SQL, no Python in the row path.

In: a ViewDefinition as parsed JSON; its paths are read by `ehr_fhir.fhirpath`, the one parser.
Out: a `CompiledView`, whose `sql(source)` is one query; Unprocessable, with the place, before any
row is read.
May import: `ehr_fhir` (the syntax tree, R4's definitions) and `ehr_etl.spark` for SQL text.
"""

from ehr_etl.sql_on_fhir.compiler import CompiledView, compile_view
from ehr_etl.sql_on_fhir.definition import ViewDefinition, parse_view

__all__ = ["CompiledView", "ViewDefinition", "compile_view", "parse_view"]
