"""`python -m fastdp`: the same as the command `fastdp`."""

import sys

from fastdp.cli.main import main

sys.exit(main())
