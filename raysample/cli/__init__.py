"""The command line: `raysample <verb>`, terminal tables, and the conclusion of a comparison."""
