"""The journal: a redo log of what took access or data away, kept apart from the store.

In: redo actions, inside the transaction that makes the changes they describe.
Out: the same actions in order, for a restore to replay; or the reason why the journal cannot be
    relied on.
May import: database, settings, private_file.

Why it is done so: docs/decisions/007-a-restore-never-reopens.md.
"""
