"""What only the garbage collector frees: objects in reference cycles."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile, but by `cycles`."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.collect()


def cycles() -> Counter[str]:
    """The cyclic garbage of now, by type; that of the doubles apart, which are in this process, too."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = [name for each in gc.garbage if (name := _name(each)).startswith(("shield.", "uvloop."))]
    gc.garbage.clear()
    return Counter(found)


def _name(each: object) -> str:
    """The type of an object, or the name of a function or of what it belongs to."""
    of = each if hasattr(each, "__code__") or hasattr(each, "cr_code") or hasattr(each, "gi_code") else type(each)
    module = getattr(of, "__module__", None) or getattr(type(each), "__module__", "")
    return f"{module}.{getattr(of, '__qualname__', '')}"
