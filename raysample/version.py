"""The version, kept here and read by pyproject.toml: a Ray job's working folder need not be an installed package."""

__version__ = "0.1.0"
