"""Index rows of a resource: what its search parameters and texts are found by.

In: a resource as a dict.
Out: rows by kind of search parameter; words for full text.
May import: search_parameters, fhirpath and what is below.
"""
