"""Where Python starts when a program of the user's is run: `python boot.py JOB`.

Started as a file, not with -m, so that nothing of the folder it is started in is in Python's way, and so that the
program finds `sys.path` as `python SCRIPT` would have left it.
"""

import os
import sys

home = os.path.dirname(os.path.dirname(sys.path.pop(0)))  # noqa: PTH120 - as little as possible is imported yet
missing = home not in sys.path
if missing:  # a checkout that is not installed
    sys.path.append(home)
from torchlint.confirm import solo  # noqa: E402

if missing:
    sys.path.remove(home)
if __name__ == "__main__":
    sys.exit(solo.main(sys.argv[1]))
