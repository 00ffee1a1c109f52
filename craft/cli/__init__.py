"""The command line; :mod:`~craft.cli.app` has its entry point, each command a file of its own."""
