"""The tables of all rooms, as SQLAlchemy Core: what a database of this version looks like.

In: nothing.
Out: one MetaData for each room that keeps rows.
May import: database.
"""
