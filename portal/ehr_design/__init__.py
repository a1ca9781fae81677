"""The look that the portal and the gateway's log-in pages share: style sheet, icons, frame.

In: how a reader wants pages to look (theme, text size), from cookies or an authorize request.
Out: static files, Jinja macros of the frame, the names and values of those cookies.
Knows no record, no account and no text: pages give the texts in their language.
"""
