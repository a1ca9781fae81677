"""`ehr demo`: a tour of the whole platform on the sample, over HTTP as any client would.

In: the settings. Out: a data folder of its own, a table of steps, addresses and log-ins.
May import `commands`, `server`, `sample`, `data_folder` and `settings`.
"""
