"""FHIRPath's functions, a module for each section of the specification (N1 §5).

Each implementation has the name of its FHIRPath function in snake case with an underscore before
it, and its arguments have the specification's names: `subsetOf(other)` is `_subset_of`.

In: a scope, the items of the input collection, and the arguments as collections or closures.
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
