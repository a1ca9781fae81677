"""The SMART App Launch 2.2 authorization server: clients, codes, tokens, introspection, revocation.

Why our own: authlib's servers are for Flask and Django, and most of what is here is the platform's
(scopes within roles, launch contexts, carers, audit). Libraries do the cryptography: joserfc signs
and verifies JWTs, argon2 hashes secrets, webauthn checks passkeys.

In: requests of clients.
Out: access, refresh and ID tokens; errors of RFC 6749.
May import: accounts, html, http, interactions and what is below.
"""
