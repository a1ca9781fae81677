"""The lake: feed, bronze, silver, quality, deid, gold."""
