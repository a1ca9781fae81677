"""Topic-based subscriptions (HL7's R4 backport of R5): topics, events, deliveries.

In: a Subscription and the authority of who sent it; the versions of the feed.
Out: notification Bundles by HTTPS and WebSocket, each event judged by consent as it is sent.
May import: oauth, accounts, gateway, audit_log, search, store.
"""
