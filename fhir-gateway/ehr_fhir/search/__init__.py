"""Search queries (R4 §3.1.1) parsed into filters, includes and result parameters; no SQL.

In: names and values of a query string.
Out: a `Query`.
May import: index, compartments, search_parameters and what is below.
"""
