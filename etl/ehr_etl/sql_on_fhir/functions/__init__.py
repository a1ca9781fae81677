"""The FHIRPath functions that views may call: one registry, a module per chapter of FHIRPath."""

from __future__ import annotations

from collections.abc import Mapping

from ehr_etl.sql_on_fhir.functions import collections, conversion, fhir, maths, strings
from ehr_etl.sql_on_fhir.functions.signature import Function, Signature
from ehr_etl.sql_on_fhir.paths import Scope, compile_path
from ehr_etl.sql_on_fhir.values import Value
from ehr_fhir.errors import Unprocessable
from ehr_fhir.fhirpath.syntax import Call

# By the clock of the run: a table would change though no record did.
_OF_THE_CLOCK = frozenset({"now", "today", "timeOfDay"})

FUNCTIONS: Mapping[str, Signature] = {
    **collections.FUNCTIONS,
    **conversion.FUNCTIONS,
    **fhir.FUNCTIONS,
    **maths.FUNCTIONS,
    **strings.FUNCTIONS,
}

__all__ = ["FUNCTIONS", "Function", "Signature", "compile_call"]


def compile_call(call: Call, scope: Scope) -> Value:
    """Compile a function call."""
    if call.name in _OF_THE_CLOCK:
        raise Unprocessable(
            f"The path calls {call.name}(), so that rows would change with no change of a record."
        )
    signature = FUNCTIONS.get(call.name)
    if signature is None:
        raise Unprocessable(f"The path calls {call.name}(), which views do not support.")
    if not signature.least <= len(call.arguments) <= signature.most:
        raise Unprocessable(f"The path calls {call.name}() with a wrong number of arguments.")
    base = scope.this if call.base is None else compile_path(call.base, scope)
    return signature.function(base, call, scope)
