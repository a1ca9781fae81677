"""FHIRPath on R4 JSON: an expression compiled once to Python closures, then evaluated many times.

Normative release 1 (2.0), and those functions of its trial-use part that HL7's R4 suite uses.

In: the text of an expression and a resource as parsed JSON; the clock, and what resolves references
and value sets, as arguments. Nothing is fetched.
Out: a list of values; Invalid with line and column where the expression is wrong. `parse` gives the
syntax tree to those who compile it to something else, as the lake does to SQL.
May import: dates, definitions, errors.

Why our own: each write evaluates every search parameter of its resource, and fhirpathpy 2.2.4
interprets the tree each time. Times are in `tests/perf/bench_fhirpath.py`; HL7's suite passes.
"""

from __future__ import annotations

from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, TypeSpecifier
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.expression import Expression, compile, to_json  # noqa: A004 - as re.compile
from ehr_fhir.fhirpath.parser import parse
from ehr_fhir.fhirpath.quantity import Quantity
from ehr_fhir.fhirpath.temporal import Date, DateTime, Time
from ehr_fhir.fhirpath.ucum import Unit, parse_unit
from ehr_fhir.fhirpath.walk import Walk

__all__ = [
    "PRIMITIVES",
    "Date",
    "DateTime",
    "Element",
    "Expression",
    "Quantity",
    "Time",
    "TypeSpecifier",
    "Unit",
    "Walk",
    "compile",
    "parse",
    "parse_unit",
    "syntax",
    "to_json",
]
