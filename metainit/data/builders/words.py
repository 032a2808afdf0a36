"""Sizes and times for people."""


def size(count: float) -> str:
    """A number of bytes, "1.2 GB", "340 MB" or "12 kB"."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6)):
        if count >= bytes_:
            value = count / bytes_
            return f"{value:,.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def time(seconds: float) -> str:
    """A time, "0 min", "3 min" or "2.5 h"; what is no second is no minute."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60)) if seconds else 0} min"
    return f"{seconds / 3600:.1f} h"
