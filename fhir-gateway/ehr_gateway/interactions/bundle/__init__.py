"""batch and transaction (R4 §3.1.0.11): entries parsed, ordered, resolved, answered.

In: a Bundle.
Out: a Bundle of responses.
May import: interactions, transaction, search, store and what is below.
"""
