"""FHIRPath on R4 JSON: an expression is compiled once to Python closures and evaluated many times.

Normative release 1 (2.0, http://hl7.org/fhirpath/N1), and the trial-use functions that HL7's R4
test suite uses.

In: the text of an expression, and a resource as parsed JSON; the current time, and callbacks that
resolve references and value sets, as arguments. The engine itself reads no database or network.
Out: a collection as a list; Invalid with line and column for a faulty expression. `parse` returns
the syntax tree for other compilers, such as the lake's to SQL.
May import: dates, definitions, errors.

Why our own: each write evaluates every search parameter of its resource, and fhirpathpy 2.2.4
interprets the syntax tree each time. `tests/perf/bench_fhirpath.py` measures it.
"""

from __future__ import annotations

from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, TypeSpecifier
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.expression import Expression, compile, to_json  # noqa: A004 - as re.compile
from ehr_fhir.fhirpath.parser import parse
from ehr_fhir.fhirpath.plain import compile_reader
from ehr_fhir.fhirpath.quantity import Quantity
from ehr_fhir.fhirpath.scope import MAX_STEPS
from ehr_fhir.fhirpath.temporal import Date, DateTime, Time
from ehr_fhir.fhirpath.ucum import Unit, parse_unit
from ehr_fhir.fhirpath.walk import Walk

__all__ = [
    "MAX_STEPS",
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
    "compile_reader",
    "parse",
    "parse_unit",
    "syntax",
    "to_json",
]
