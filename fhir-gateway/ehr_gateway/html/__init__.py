"""Pages of log-in and consent: templates, texts in three languages, styles.

In: the name of a page and its values.
Out: an HTML response.
May import: nothing of the gateway.
"""
