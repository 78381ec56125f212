"""Execution: where work runs. The `Executor` protocol, the executor of this process, and the executor on Ray."""
