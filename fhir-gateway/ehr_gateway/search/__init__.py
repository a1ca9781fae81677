"""Search compiled to SQL with the consent condition inside; pages, includes, cursors.

In: a parsed query and an `Access`.
Out: pages of versions.
May import: store, access, database.
"""
