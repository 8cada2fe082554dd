"""The command line: thin commands over the API."""

from xeric.cli.main import main, run

__all__ = ["main", "run"]
