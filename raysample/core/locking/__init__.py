"""Who may write: locks of single files between processes of a machine, and the lock of a run's folder."""

from raysample.core.locking.files import exclusive
from raysample.core.locking.folders import Holder, Lock, held

__all__ = ["Holder", "Lock", "exclusive", "held"]
