"""Accounts, their factors (password, TOTP, passkey), sessions and the log-in throttle.

In: names, passwords, codes.
Out: accounts and sessions, or a refusal that does not tell whether the name exists.
May import: gateway, store, tokens and what is below; no route.
"""
