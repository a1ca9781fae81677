"""Routes of the REST API: instance, type and system level, feed, health.

In: a verified request.
Out: responses with ETag, Location and audit.
May import: operations, interactions, http and what is below.
"""
