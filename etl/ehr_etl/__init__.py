"""The lake: change feed, bronze, silver, data quality, deid, gold.

In: the gateway's change feed over HTTP; the consent and de-identification rules of `ehr_privacy`.
Out: Delta tables; quality reports as FHIR MeasureReports.
`lake_run.run_once` is one run of it all; `lake` is the registry of tables.
"""
