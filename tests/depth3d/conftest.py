"""Makes the scene of known geometry importable as `scene` from the tests beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
