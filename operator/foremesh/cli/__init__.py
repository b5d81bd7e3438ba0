"""The ``foremesh`` command: starts the programs, and nothing else."""
