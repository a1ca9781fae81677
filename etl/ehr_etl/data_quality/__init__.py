"""Data quality: rules for each version before silver, expectations for each gold table.

In: rules.toml and suites/*.json; rows of a table.
Out: names of broken rules; counts per expectation; FHIR MeasureReports.
May import: lake.
"""
