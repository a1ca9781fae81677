"""Backups of an installation while it serves, and their restore.

In: an installation's settings and the operator's public key; for a restore, the private key.
Out: a folder of encrypted pieces and signed manifests; a restored data folder and database.
May import: whatever the gateway's application may, but no routes.

Why it is done so: docs/decisions/007-a-restore-never-reopens.md.
"""
