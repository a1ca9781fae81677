"""Notices to patients and carers: an outbox written with what it tells of, and its channels."""
