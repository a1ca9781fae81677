"""Schema migrations: Alembic revisions, and `ehr upgrade`, which runs them.

In: a database of an older version.
Out: the same records in the tables of `ehr_gateway.schema.revision.HEAD`.
May import: all rooms but `app`; revisions themselves import nothing of the tables, which go on
    changing after them.

To add a revision:

1. Change the tables in `ehr_gateway.schema`.
2. Add `versions/NNNN_what.py`, the next number, one file each: `revision = "NNNN"`,
   `down_revision` the one before, and `upgrade()` in Alembic's operations (`op.add_column`,
   `op.batch_alter_table` for what SQLite cannot alter) or in SQL for both databases.
   The chain is linear: who lands second takes the next number.
3. Raise `HEAD` in `ehr_gateway/schema/revision.py`.
4. If values that are computed from the resources change (index rows, consent facts, rule rows),
   let `upgrade()` call `schedule_recompute(op.get_bind())`: it runs afterwards, in batches.

A revision and its number are committed together, or neither, on both databases; there is no
`downgrade()`: the way back is the backup that was made before.
`tests/spec/upgrade` takes databases made by 5830f38 through every revision and fails when the
result differs from fresh tables.
"""
