"""The gateway's change feed: pulled page by page, landed as files, read line by line.

In: pages of NDJSON from the gateway.
Out: landed files; an `Entry` per line, with the facts that consent needs.
May import: lake.
"""
