"""How long to wait before the next connection attempt. Pure."""


def reconnect_delay(
    failures: int, roll: float, *, base: float = 0.1, cap: float = 30.0, jitter: float = 0.05, immediate: int = 1
) -> float:
    """Seconds to wait after the ``failures``-th failure in a row (004 §10: 100 ms x 2^n, cap 30 s, jitter to 50 ms).

    Args:
        failures: failures since the connection was last proved healthy; 1 is the first.
        roll: a random number in [0, 1): spreads the connections of many that fell together.
        base: seconds; the first real delay.
        cap: seconds; no delay is longer, but for the jitter.
        jitter: seconds; the most that ``roll`` adds.
        immediate: that many first failures wait for the jitter only, so that a single cut heals at once (REC-9 < 1 s).
    """
    step = failures - immediate
    if step <= 0:
        return jitter * roll
    # 2**40 x 100 ms is past every cap: the bound keeps the power finite
    return float(min(cap, base * 2.0 ** min(step - 1, 40))) + jitter * roll
