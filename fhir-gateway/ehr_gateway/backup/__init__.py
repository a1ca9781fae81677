"""Backups of an installation while it serves, and their restore.

In: the settings of an installation, an operator's public key; for a restore the private one.
Out: a folder of sealed, signed pieces; a data folder and database in the state of a backup.
May import: whatever the gateway's application may, but no routes.

Why it is done so: docs/decisions/007-a-restore-never-reopens.md.
"""
