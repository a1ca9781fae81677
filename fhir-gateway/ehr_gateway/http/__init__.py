"""What every FHIR route shares: authentication, content negotiation, body, errors, headers.

In: an HTTP request.
Out: the request context (`RequestContext`); responses.
May import: gateway, audit_log, store, tokens and what is below; no route.
"""
