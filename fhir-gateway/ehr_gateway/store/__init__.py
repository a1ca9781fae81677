"""The tables: versions, index rows, rule rows, and the view of one request on them.

In: prepared values on a connection.
Out: versions.
May import: access, database.
"""
