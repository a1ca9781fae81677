"""The SMART App Launch 2.2 authorization server: clients, codes, tokens, introspection, revocation.

In: requests of clients.
Out: access, refresh and ID tokens; errors of RFC 6749.
May import: accounts, html, http, interactions and what is below.
"""
