"""What a worker process of a pool does first: see to it that it ends with its parent.

A pool ends its processes when it is closed. A parent that is killed closes nothing, and its
processes would wait for work for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import threading

__all__ = ["end_with_parent"]


def end_with_parent() -> None:
    """End this process as soon as the one that made its pool has ended, however it did."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_parent() -> None:
        # On a pipe that the system closes when the parent ends.
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_parent, name="parent watch", daemon=True).start()
