"""Gold: the tables people query, each made by an SQL on FHIR ViewDefinition of its own.

In: view_definitions/*.json; deid (or silver, inside the trusted zone).
Out: Delta tables under gold/; data frames.
May import: sql_on_fhir, lake, spark.
"""
