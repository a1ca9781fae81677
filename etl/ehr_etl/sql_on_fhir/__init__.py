"""SQL on FHIR v2: ViewDefinitions compiled to Spark SQL, no Python in the row path."""

from ehr_etl.sql_on_fhir.compiler import CompiledView, compile_view
from ehr_etl.sql_on_fhir.definition import ViewDefinition, parse_view

__all__ = ["CompiledView", "ViewDefinition", "compile_view", "parse_view"]
