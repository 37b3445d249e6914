"""`python -m hiveot_supervisor.prestart NAME`: what the generated scripts fall back to."""

import sys

from hiveot_supervisor.prestart.hook import main

if __name__ == "__main__":
    sys.exit(main())
