"""The pages: each module has a `router` with the routes of one place of the portal.

In: a request of one role. Out: a template filled in, or a redirect after a form was handled.
A page parses, asks the gateway, calls one pure function and renders.
May import everything but `app`, which includes every router it finds in this folder.
"""
