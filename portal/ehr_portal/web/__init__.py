"""What every page needs of HTTP: request, session, log-in, navigation, forms, templates.

In: a browser's request. Out: who is logged in, the gateway with their
token, a rendered page, cookies. Which roles see a page is checked here, by its parameter's type.
May import `gateway`, `i18n` and `settings`.
"""
