"""Search queries (R4 §3.1.1) parsed into filters, includes and result parameters; no SQL.

In: the resource type, and names and values of a query string.
Out: a `SearchQuery`; Invalid or UnknownParameter with the nearest name.
May import: index, compartments, search_parameters and what is below.
"""
