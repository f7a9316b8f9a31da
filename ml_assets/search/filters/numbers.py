"""Numbers of the metadata, exact in stores that only know doubles, or only texts."""

from __future__ import annotations

import struct
import sys
from decimal import Decimal

EXACT = 2**53
"""From here on doubles are further apart than integers."""

_LARGEST = int(sys.float_info.max)
_REST = 2**63


def split_number(number: int | float) -> tuple[float, int]:
    """The nearest double, and what the decimal number has beyond it, 0 below `EXACT`.

    The pairs are in the order of the numbers. Beyond 10^34 the rest is clipped.
    """
    if -EXACT < number < EXACT:
        return float(number) + 0.0, 0  # + 0.0: minus zero is zero
    exact = int(Decimal(repr(number)))
    nearest = float(min(max(exact, -_LARGEST), _LARGEST))
    return nearest, min(max(exact - int(nearest), -_REST), _REST - 1)


def sortable(number: int | float) -> str:
    """32 hex digits in the order of the numbers."""
    nearest, rest = split_number(number)
    (bits,) = struct.unpack(">Q", struct.pack(">d", nearest))
    # Of negative numbers all bits are turned round, of others the sign.
    ordered = bits ^ (2**64 - 1 if bits >> 63 else 2**63)
    return f"{ordered:016x}{rest + _REST:016x}"
