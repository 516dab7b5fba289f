"""Sizes and durations for people: rounded, in one unit."""

from __future__ import annotations

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_DURATIONS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def shown_size(count: int) -> str:
    """As `24.1KiB`, `312GiB`."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f}{_SIZES[unit]}" if unit and value < 99.95 else f"{value:.0f}{_SIZES[unit]}"


def shown_duration(seconds: float) -> str:
    """As `12m`, `3h`: whole units, rounded down."""
    for length, unit in _DURATIONS:
        if seconds >= length:
            return f"{int(seconds / length)}{unit}"
    return "0s"


def billed_size(size: float) -> str:
    """As `24.1 kB`, `312 GB`: powers of 1000, as on bills."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.95:
            return f"{size:.4g} {unit}"
        size /= 1000.0
    return f"{size:,.4g} TB"
