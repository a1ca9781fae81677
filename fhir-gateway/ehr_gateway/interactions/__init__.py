"""The interactions of FHIR as functions, without HTTP: read, create, update, history and so on.

In: a store, an `Access`, the values of a request.
Out: versions, bundles, write results.
May import: transaction, search, store and what is below.
"""
