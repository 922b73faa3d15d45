"""`python -m powdo`."""

from powdo.cli import main

main()
