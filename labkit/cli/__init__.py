"""The command line: arguments in, tables and exit codes out."""

from labkit.cli.main import main

__all__ = ["main"]
