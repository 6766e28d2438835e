"""`python -m inverter_capture`."""

import sys

from inverter_capture.cli import main

sys.exit(main())
