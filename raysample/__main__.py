"""`python -m raysample`: the command line, as the command `raysample` runs it."""

from raysample.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
