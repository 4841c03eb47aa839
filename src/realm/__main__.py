"""`python -m realm`: the same as the command `realm`."""

import sys

from realm.cli.main import main

sys.exit(main())
