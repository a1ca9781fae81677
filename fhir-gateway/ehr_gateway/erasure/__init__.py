"""Erasure of patients from the store: asked for by one person, approved by another, finished.

In: requests of operations, the list of erased patients of a restore.
Out: rows deleted, the database's files rewritten, the list of erased patients, certificates.
May import: access_requests, audit_log, transaction and what lies below.
"""
