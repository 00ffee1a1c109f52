"""The command line: its entry point is in :mod:`~craft.cli.app`, each command in its own file."""
