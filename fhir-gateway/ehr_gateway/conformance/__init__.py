"""What this server says of itself: CapabilityStatement and OpenAPI document.

In: the registries of interactions, operations and search parameters.
Out: documents generated from them.
May import: operations, http and what is below.
"""
