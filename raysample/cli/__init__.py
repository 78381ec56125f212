"""The command line: `raysample COMMAND`, terminal tables, and the conclusion of a comparison."""
