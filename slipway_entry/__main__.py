"""`python -P -m slipway_entry MODULE ARGUMENT…` runs Slipway's MODULE as `python -m MODULE` would."""

import runpy
import sys

del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
