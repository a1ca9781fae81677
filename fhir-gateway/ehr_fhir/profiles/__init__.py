"""Profiles: a resource judged by StructureDefinitions, R4's own and those that are loaded.

In: a resource as parsed JSON; profiles by their address; an object that knows value sets.
Out: findings with severity, code, FHIRPath expression and a text that names the rule.
May import: validation, fhirpath and what is below.
"""
