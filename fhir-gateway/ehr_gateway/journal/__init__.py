"""The journal: what was closed, in a chained and sealed file apart from the store.

In: closings, inside the transaction that makes them.
Out: the same in order, for a restore to replay; or the reason why they cannot be relied on.
May import: database, settings, private_file.

Why it is done so: docs/decisions/007-a-restore-never-reopens.md.
"""
