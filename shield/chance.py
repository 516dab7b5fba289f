"""Numbers from 0 to 1 for jitter and sampling."""

from __future__ import annotations

import random

draw = random.SystemRandom().random
"""From the system: the generator of `random` belongs to whoever seeds it (tests do), and workers that are forked from
one parent would all draw the same from one of ours."""
