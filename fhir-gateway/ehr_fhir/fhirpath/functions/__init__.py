"""FHIRPath's functions, a module for each section of the specification.

In: a scope, the items before the dot, and the arguments, as collections or as closures.
Out: a collection; importing a module puts its functions into `registry.FUNCTIONS`.
May import: the values and types of `ehr_fhir.fhirpath`; neither its parser nor its compiler.
"""

from ehr_fhir.fhirpath.functions import (
    aggregates,
    boundaries,
    combining,
    conversion,
    existence,
    fhir,
    filtering,
    maths,
    narrative,
    sorting,
    strings,
    subsetting,
    text_coding,
    utility,
)

__all__ = [
    "aggregates",
    "boundaries",
    "combining",
    "conversion",
    "existence",
    "fhir",
    "filtering",
    "maths",
    "narrative",
    "sorting",
    "strings",
    "subsetting",
    "text_coding",
    "utility",
]
