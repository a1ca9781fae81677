"""Bulk data (Flat FHIR): exports as rows of the database, whose lines are read when fetched;
imports as rows and files, until they have ended.

In: a store, an `Access`, the values of a kick-off.
Out: which files an export has, and the lines of one, judged as they are read; how far an import is.
May import: search, store and what is below.
"""
