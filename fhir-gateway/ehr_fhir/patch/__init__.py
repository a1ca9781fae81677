"""JSON Patch and FHIRPath Patch (R4 §3.1.0.8).

In: a resource and a patch.
Out: the patched resource.
May import: validation, fhirpath and what is below.
"""
