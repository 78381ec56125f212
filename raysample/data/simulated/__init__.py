"""A generator of *simulated* assistant traffic, for a demo's thousands of rows or a scale test's hundred millions."""

from raysample.data.simulated.broken import write_broken_log
from raysample.data.simulated.traffic import simulated_sources, write_traffic

__all__ = ["simulated_sources", "write_broken_log", "write_traffic"]
