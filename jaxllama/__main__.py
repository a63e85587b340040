"""`python -m jaxllama` is the command `jaxllama`."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
