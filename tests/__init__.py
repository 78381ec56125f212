"""All tests of raysample; the folders mirror the package."""
