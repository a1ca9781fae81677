"""OMOP: the OMOP Common Data Model 5.4, made from deid and kept by person.

In: deid; mappings.toml (which FHIR element fills which column), crosswalk.csv, and the user's own
Athena vocabulary.
Out: Delta tables under omop/ (the CDM) and omop_etl/ (what stays outside of it: reasons, lineage).
May import: tables, lake.
"""
