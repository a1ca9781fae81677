"""Access beyond sharing: step-up, emergency access, holds, carers and substitutes.

In: a verified request and the values of an operation.
Out: rows of requests, Consent resources written for them, notices.
May import: accounts, http, notices, transaction and what is below.
"""
