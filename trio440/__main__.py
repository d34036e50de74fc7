"""``python -m trio440`` is the ``trio440`` command."""

from trio440.cli import main

main()
