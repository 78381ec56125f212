"""Locks: of single files between the processes of a machine, and of a run's folder between drivers."""

from raysample.core.locking.files import exclusive
from raysample.core.locking.folders import Holder, Lock, held

__all__ = ["Holder", "Lock", "exclusive", "held"]
