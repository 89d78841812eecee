"""`python -m potluck` is the console script."""

from ._main import main

main()
