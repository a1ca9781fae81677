"""Decisions about people: consent, de-identification, disclosure control, the audit log's proofs.

In: FHIR resources, rule rows, tables of counts; keys, clock and random numbers as arguments.
Out: decisions, SQL predicates, scrubbed resources, controlled tables, proofs.
May import: `ehr_fhir`. No web, no database, no Spark (a contract of import-linter).
"""

from ehr_privacy import consent, deid, disclosure, substitutes

__all__ = ["consent", "deid", "disclosure", "substitutes"]
