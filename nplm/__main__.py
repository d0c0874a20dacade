"""`python -m nplm` is the command `nplm`."""

from nplm.cli import main

if __name__ == "__main__":
    main()
