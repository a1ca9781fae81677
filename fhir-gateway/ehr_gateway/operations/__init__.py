"""FHIR operations (`$name`), each with its route.

In: a verified request and its Parameters.
Out: Parameters, Bundles or an OperationOutcome.
May import: access_requests, notices, interactions, http and what is below.
"""
