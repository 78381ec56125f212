"""A thread that renews the heartbeat of a lock, and interrupts the process if the lock is lost."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable


class Heart:
    """Calls `beat` until stopped. If `beat` returns False (the lock is lost), the main thread is interrupted."""

    def __init__(self, beat: Callable[[], bool], seconds: float) -> None:
        self._beat, self._seconds = beat, seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raysample-lock", daemon=True)
        self.lost = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; waits for a beat that is running."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(self._seconds)

    def _run(self) -> None:
        """Beat until stopped or lost."""
        while not self._end.wait(self._seconds):
            if not self._beat():
                self.lost = True
                _thread.interrupt_main()
                return
