"""`python -m training ...` is the command `keras-gen ...`."""

import sys

from training.cli import main

sys.exit(main())
