"""Log-in pages, passkeys, eID, account and administration pages, the authorize endpoint.

In: forms of a browser.
Out: pages, cookies, redirects with an authorization code.
May import: oauth, accounts, html, http and what is below.
"""
