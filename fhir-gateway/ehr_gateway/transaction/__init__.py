"""One write transaction: version, index rows, rule rows and audit row together, or nothing.

In: prepared resources and an `Access`.
Out: write results; refusals.
May import: search, store, access, database.
"""
