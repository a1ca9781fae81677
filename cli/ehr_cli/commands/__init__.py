"""The commands of `ehr`, one module for each group: options in, sentences and exit codes out.

Each parses its options, calls one function of another part and prints what came of it.
May import `server`, `data_folder` and `settings`.
"""
