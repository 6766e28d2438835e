"""`python -m inverter_capture`."""

import sys

from inverter_capture.commands.arguments import main

sys.exit(main())
