"""`python -m hiveot_supervisor.agent GENERATED_DIR`: what supervisord starts as its event listener."""

import sys

from hiveot_supervisor.agent.service import main

sys.exit(main())
