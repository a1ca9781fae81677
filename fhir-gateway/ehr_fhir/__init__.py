"""FHIR R4 itself: JSON, definitions, dates, references, FHIRPath, search, index, patches, checks.

In: bytes, parsed JSON, query strings; the clock as an argument.
Out: values and index rows; one of the errors of `ehr_fhir.errors`, which never tell a value.
May import: nothing of ours. No web, no database, no Spark (a contract of import-linter).
"""
