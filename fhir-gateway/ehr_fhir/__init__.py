"""FHIR itself: parsing, search parameters, references, errors.

Pure: no web, no database, no Spark.
"""
