"""Rows of identified records for aggregates that de-identified records cannot give.

De-identified records have no hours and no districts. A count by hour or by district is made of
these rows instead, by the same disclosure control as every release: they stay in the memory of the
process that asks, are written to no file or table, and only controlled numbers leave.

In: silver, decisions, and what people have decided about research. Out: Arrow tables in memory.
May import: tables, progress, lake.
"""
