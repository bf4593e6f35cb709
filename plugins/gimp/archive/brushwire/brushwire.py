#!/usr/bin/env python3
"""What GIMP runs: the plug-in itself lies in the package beside this file."""

import pathlib
import sys

# An isolated Python (-I) does not look beside the script.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from brushwire_plugin.gimp.main import main

main()
