"""Numbers from 0 to 1 for jitter and sampling."""

from __future__ import annotations

import os
import random

_generator = random.Random()
draw = _generator.random
"""From a generator of our own: that of `random` belongs to whoever seeds it (tests do). It is seeded anew in each
worker: those that are forked from one parent would all draw the same.
"""

os.register_at_fork(after_in_child=_generator.seed)
