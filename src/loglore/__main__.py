"""`python -m loglore`: the command line."""

from loglore.cli import main

main()
