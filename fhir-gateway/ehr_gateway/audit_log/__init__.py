"""The audit log: AuditEvents in an RFC 6962 Merkle log with signed checkpoints.

In: what a request disclosed or wrote, as rows.
Out: events, proofs, checkpoints, findings of verification.
May import: store, tokens, access, database, settings.
"""
