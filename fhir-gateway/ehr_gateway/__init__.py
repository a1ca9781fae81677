"""The sharing gateway: store, search, authorization, consent enforcement, audit, feed."""
