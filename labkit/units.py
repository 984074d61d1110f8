"""Durations, shares and rates as people write them: read, and spelled again in one way only."""

from __future__ import annotations

import re
from decimal import Decimal

from labkit.rules import invalid

QUANTITY = re.compile(r"(?P<number>\d{1,12}(?:\.\d{1,40})?) ?(?P<unit>[a-zA-Zµ%]+)(?:/s)?")

# In milliseconds, largest last: a quantity is spelled in the largest unit it fills.
DURATIONS = {"us": Decimal("0.001"), "ms": Decimal(1), "s": Decimal(1000)}
SHARES = {"%": Decimal("0.01")}
RATES = {"bit": Decimal(1), "kbit": Decimal(10**3), "Mbit": Decimal(10**6), "Gbit": Decimal(10**9)}

MOST_MILLISECONDS = 60_000
LEAST_RATE, MOST_RATE = 1_000, 100 * 10**9


def _read(value: object, argument: str, units: dict[str, Decimal], rule: str) -> Decimal:
    match = QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = match["unit"].replace("µ", "u").lower() if match else ""
    factor = next((factor for name, factor in units.items() if name.lower() == unit), None)
    if match is None or factor is None:
        invalid(argument, value, rule)
    return Decimal(match["number"]) * factor


def milliseconds(value: object, argument: str) -> float:
    """``"20ms"``, ``"1.5s"`` or ``"300us"`` in milliseconds."""
    rule = "a duration with its unit, such as '20ms', '1.5s' or '300us', at most 60s"
    found = _read(value, argument, DURATIONS, rule)
    if found > MOST_MILLISECONDS:
        invalid(argument, value, rule)
    return float(found)


def share(value: object, argument: str) -> float:
    """``"1%"`` as 0.01."""
    rule = "a share from '0%' to '100%'"
    found = _read(value, argument, SHARES, rule)
    if found > 1:
        invalid(argument, value, rule)
    return float(found)


def bits_per_second(value: object, argument: str) -> int:
    """``"5Mbit"`` as 5000000; ``"5Mbit/s"`` is the same."""
    rule = "a rate with its unit, such as '500kbit' or '5Mbit', from 1kbit to 100Gbit"
    found = _read(value, argument, RATES, rule)
    if not LEAST_RATE <= found <= MOST_RATE:
        invalid(argument, value, rule)
    return int(found)


def _spell(value: Decimal, units: dict[str, Decimal]) -> str:
    fitting = [name for name, factor in units.items() if value >= factor] or list(units)[:1]
    number = value / units[fitting[-1]]
    return f"{number.normalize():f}{fitting[-1]}"


def spell_milliseconds(value: float) -> str:
    """20.0 as ``"20ms"``."""
    return _spell(Decimal(repr(value)), DURATIONS)


def spell_share(value: float) -> str:
    """0.01 as ``"1%"``."""
    return _spell(Decimal(repr(value)), SHARES)


def spell_rate(value: int) -> str:
    """5000000 as ``"5Mbit"``."""
    return _spell(Decimal(value), RATES)
