"""Exact prices and quantities: integers in units of 1e-8, the finest step any of the ten venues quotes. Pure."""

from decimal import Decimal, InvalidOperation

#: decimals kept: one unit is 1e-8
DECIMALS = 8
SCALE = 10**DECIMALS

#: ``(price, quantity)`` in units of 1e-8
Level = tuple[int, int]


def parse_units(text: str) -> int:
    """``"61837.63"`` as 6183763000000.

    Raises:
        ValueError: not a plain decimal number, not finite, or finer than 1e-8 (never rounded in silence).
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a decimal number: {text[:40]!r}") from None
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or len(digits) > 40 or abs(exponent) > 40:
        raise ValueError(f"not a finite number of a sane size: {text[:40]!r}")
    # whole numbers only: Decimal arithmetic would round at its context's precision
    units = int("".join(map(str, digits)))
    shift = exponent + DECIMALS
    if shift >= 0:
        units *= int(10**shift)
    else:
        units, rest = divmod(units, int(10**-shift))
        if rest:
            raise ValueError(f"finer than 1e-8: {text[:40]!r}")
    return -units if sign else units


def format_units(units: int) -> str:
    """6183763000000 as ``"61837.63000000"``, with all eight decimals as Binance writes them."""
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), SCALE)
    return f"{sign}{whole}.{part:08d}"


def parse_levels(pairs: list[tuple[str, str]]) -> list[Level]:
    """Price levels as text, as venues send them, in units.

    Raises:
        ValueError: a number among them that ``parse_units`` refuses.
    """
    # numbers of eight decimals, which is how Binance writes all of them, are read without a call per number
    try:
        return [
            (int(price.replace(".", "", 1)), int(quantity.replace(".", "", 1)))
            if price[-9] == "." and quantity[-9] == "."
            else (parse_units(price), parse_units(quantity))
            for price, quantity in pairs
        ]
    except IndexError:
        return [(parse_units(price), parse_units(quantity)) for price, quantity in pairs]


def parse_fast(text: str) -> int:
    """``parse_units`` with a short way for eight decimals, for numbers that come one at a time.

    Raises:
        ValueError: as ``parse_units``.
    """
    if text[-9:-8] == ".":
        return int(text.replace(".", "", 1))
    return parse_units(text)
