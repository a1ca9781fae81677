"""FHIRPath on R4 JSON: an expression compiled once to Python closures, then evaluated many times.

Normative release 1 (2.0) and those functions of its trial-use part that HL7's R4 suite uses.
It does not fetch anything: references are resolved and value sets asked by the caller's functions.
"""

from __future__ import annotations

from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, TypeName
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.expression import Expression, compile, to_json  # noqa: A004 - as re.compile
from ehr_fhir.fhirpath.parser import parse
from ehr_fhir.fhirpath.quantity import Quantity
from ehr_fhir.fhirpath.temporal import Date, DateTime, Time
from ehr_fhir.fhirpath.ucum import parse_unit
from ehr_fhir.fhirpath.walk import Walk

__all__ = [
    "PRIMITIVES",
    "Date",
    "DateTime",
    "Element",
    "Expression",
    "Quantity",
    "Time",
    "TypeName",
    "Walk",
    "compile",
    "parse",
    "parse_unit",
    "syntax",
    "to_json",
]
