"""FHIR operations (`$name`), one file each: `OPERATION` declares it, `answer` handles a call.

In: a verified request and its parameters.
Out: Parameters, Bundles or an OperationOutcome.
May import: access_requests, notices, interactions, http and what is below; no operation another.
Modules whose name begins with `_` hold what several operations share.
"""
