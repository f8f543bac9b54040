"""`python -m pbclient` is `pbclient`."""

from pbclient.cli.app import main

main()
