"""JSON Patch (RFC 6902) and FHIRPath Patch (R4 §3.1.0.8).

In: a resource as parsed JSON, and a patch of either kind.
Out: the patched resource, another object; Unprocessable with the operation and the place.
May import: validation, fhirpath and what is below.
"""
