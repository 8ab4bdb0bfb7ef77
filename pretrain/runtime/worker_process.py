"""Parent: how a worker process ends with the process that started it, however that one ends."""

from __future__ import annotations

import multiprocessing
import os
import threading

MOVES_NO_NUMBER = "ends processes that are no longer wanted"


def end_with_the_parent() -> None:
    """From now on end this process at once when its parent is gone; called once by a worker of `multiprocessing`.

    A killed parent tells its workers nothing: they would go on, or wait for ever.
    """
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = multiprocessing.parent_process()
    assert parent, "only worker processes call this"
    parent.join()
    os._exit(1)
