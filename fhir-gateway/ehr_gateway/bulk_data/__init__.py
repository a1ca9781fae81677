"""Bulk Data Access (Flat FHIR): exports as rows of the database, whose lines are read when fetched.

In: a store, an `Access`, the values of a kick-off.
Out: which files an export has, and the lines of one, judged as they are read.
May import: search, store and what is below.
"""
