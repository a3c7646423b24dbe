"""`python -m orchestration.cli`: the command where its script is not installed."""

from orchestration.cli import main

main()
