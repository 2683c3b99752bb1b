"""What all tests need."""

from __future__ import annotations

import signal

# A shell starts what runs in the background with SIGINT ignored, and so would everything be that the tests start and
# interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
