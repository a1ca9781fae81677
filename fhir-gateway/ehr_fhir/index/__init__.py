"""What a resource is found by: rows of values for its search parameters, words for full text.

In: a validated resource as parsed JSON.
Out: `IndexRow`s by kind of parameter, a `FullText` of words at their places.
May import: search_parameters, fhirpath and what is below.
"""
