"""`python -m hiveot_supervisor.runtime`."""

import sys

from hiveot_supervisor.runtime.service import main

sys.exit(main())
