"""FHIRPath's functions, by the sections of the specification; importing them registers them."""

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
