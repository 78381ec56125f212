"""A thread that says again and again that this process is alive, and stops the process where nobody believes it."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable


class Heart:
    """Beats until it is stopped. When a beat says that we are no longer the holder, the main thread is interrupted."""

    def __init__(self, beat: Callable[[], bool], seconds: float) -> None:
        self._beat, self._seconds = beat, seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raysample-lock", daemon=True)
        self.lost = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the beat that is under way may last a moment."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(self._seconds)

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            if not self._beat():
                self.lost = True
                _thread.interrupt_main()
                return
