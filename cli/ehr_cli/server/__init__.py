"""Gateway and portal behind one address: the ASGI dispatcher and its worker processes.

In: the settings. Out: a server that says one line when it is ready.
May import `data_folder` and `settings`.
"""
