"""Notices to patients: an outbox filled in the transaction of their cause, delivery by channel.

In: rows of the outbox.
Out: messages by SMS, mail or file.
May import: store, database, ids.
"""
