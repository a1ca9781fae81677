"""Access tokens (RFC 9068): keys, signing, verification, revocation list, roles.

In: a token, or a subject and scopes.
Out: who calls; a signed token.
May import: database, settings.
"""
