"""What the benchmarks share: made-up work, timing by turns, and how a result is told."""
