"""`python -m pbclient` is `pbclient`."""

from pbclient.cli import main

main()
