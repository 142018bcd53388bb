"""The two drawings of a report, as inline SVG: what happened when, and how long it took by kind of fault. Pure."""

from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10

from supervisors.chaos.attribution import APART
from supervisors.chaos.measures import KindTimes, Spread
from supervisors.chaos.report import Bar, Report

_WIDTH = 1130
_LEFT = 190
_RIGHT = 20
_ROW = 26
_TOP = 34
_STEPS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
    7200,
    86400,
)
_KIND_ROW = 46

_Scale = Callable[[float], float]


def timeline(report: Report) -> str:
    """A row for each target: faults as bars, first signal, decision and recovery as marks."""
    if not report.bars:
        return "<p class='dim'>No fault was injected.</p>"
    targets = sorted({bar.target for bar in report.bars})
    last = max(max(bar.end, bar.healthy or 0.0, bar.signal or 0.0) for bar in report.bars)
    span = max(report.seconds, last, 0.001)
    height = _TOP + _ROW * len(targets) + 30
    rows = {target: _TOP + _ROW * number for number, target in enumerate(targets)}

    def x(at: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(at / span, 1.0), 2)

    parts = [_svg(height, "what happened when, by target")]
    for number, target in enumerate(targets):
        if number % 2 == 0:
            parts.append(f"<rect class='band' x='0' y='{rows[target]}' width='{_WIDTH}' height='{_ROW}'/>")
        parts.append(_label(target, rows[target] + _ROW / 2 + 4))
    bottom = _TOP + _ROW * len(targets)
    parts += _time_axis(span, x, bottom)
    parts += [_mark(bar, rows[bar.target], x) for bar in report.bars]
    parts.append("</svg>")
    return _legend() + "".join(parts)


def _mark(bar: Bar, top: float, x: _Scale) -> str:
    begin, end = x(bar.begin), x(bar.end)
    css = "apart" if bar.fate in APART else "lost" if bar.fate == "undetected" else "fault"
    words = [f"{bar.fault} {bar.kind} at {bar.target}: {bar.fate.replace('_', ' ')}", f"injected {bar.begin:.3f} s"]
    marks = []
    middle = top + _ROW / 2
    furthest = max((at for at in (bar.signal, bar.decided, bar.healthy) if at is not None), default=None)
    if furthest is not None:
        marks.append(f"<line class='span' x1='{begin}' x2='{x(furthest)}' y1='{middle}' y2='{middle}'/>")
    width = max(round(end - begin, 2), 3.0)
    marks.append(
        f"<rect class='{css}' x='{begin}' y='{top + 5}' width='{width}' height='{_ROW - 10}' fill-opacity='0.75'/>"
    )
    if bar.signal is not None:
        at = x(bar.signal)
        marks.append(f"<path class='sig' d='M{at} {top + 9}l-4 -7h8z'/>")
        words.append(f"first signal +{(bar.signal - bar.begin) * 1e3:.1f} ms")
    if bar.decided is not None:
        at = x(bar.decided)
        marks.append(f"<path class='dec' d='M{at} {top + _ROW - 9}l-4 7h8z'/>")
        words.append(f"decided +{(bar.decided - bar.begin) * 1e3:.1f} ms")
    if bar.healthy is not None:
        marks.append(f"<circle class='heal' cx='{x(bar.healthy)}' cy='{middle}' r='4'/>")
        words.append(f"recovered +{(bar.healthy - bar.begin) * 1e3:.1f} ms")
    return f"<g><title>{escape(', '.join(words))}</title>{''.join(marks)}</g>"


def _time_axis(span: float, x: _Scale, bottom: float) -> list[str]:
    step = next((one for one in _STEPS if span / one <= 12), _STEPS[-1])
    parts = []
    for number in range(floor(span / step + 1e-9) + 1):
        at = number * step
        parts.append(f"<line class='grid' x1='{x(at)}' x2='{x(at)}' y1='{_TOP - 6}' y2='{bottom}'/>")
        parts.append(f"<text class='dim' x='{x(at)}' y='{_TOP - 12}' text-anchor='middle'>{_seconds(at, step)}</text>")
    return parts


def _seconds(at: float, step: float) -> str:
    if step >= 60:
        return f"{at / 60:g} min"
    digits = max(0, ceil(-log10(step)))
    return f"{at:.{digits}f} s"


def times(kinds: Sequence[KindTimes]) -> str:
    """A row for each kind: median to 99th percentile of detecting, deciding, recovering, on a logarithmic axis."""
    shown = [one for one in kinds if one.detect or one.decide or one.recover]
    if not shown:
        return "<p class='dim'>No fault was noticed, so there are no times.</p>"
    values = [s.p50_ms for one in shown for s in _spreads(one)] + [s.p99_ms for one in shown for s in _spreads(one)]
    values += [one.rto_ms for one in shown if one.rto_ms]
    low = floor(log10(max(min(values), 0.01)))
    high = max(ceil(log10(max(*values, 0.01) * 1.05)), low + 1)
    height = _TOP + _KIND_ROW * len(shown) + 12

    def x(value: float) -> float:
        share = (log10(max(value, 10.0**low)) - low) / (high - low)
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(share, 1.0), 2)

    parts = [_svg(height, "time to detect, decide and recover by kind of fault, logarithmic")]
    bottom = _TOP + _KIND_ROW * len(shown)
    for number in range(0, len(shown), 2):
        parts.append(
            f"<rect class='band' x='0' y='{_TOP + _KIND_ROW * number}' width='{_WIDTH}' height='{_KIND_ROW}'/>"
        )
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f"<line class='grid' x1='{at}' x2='{at}' y1='{_TOP - 6}' y2='{bottom}'/>")
        anchor = "end" if power == high else "middle"
        parts.append(f"<text class='dim' x='{at}' y='{_TOP - 12}' text-anchor='{anchor}'>{_power(power)}</text>")
    for number, one in enumerate(shown):
        top = _TOP + _KIND_ROW * number
        parts.append(_label(one.kind, top + 20))
        noticed = one.detect.n if one.detect else 0
        parts.append(
            f"<text class='dim' x='{_LEFT - 12}' y='{top + 35}' text-anchor='end'>{noticed} of {one.faults}</text>"
        )
        for line, (css, spread) in enumerate((("sig", one.detect), ("dec", one.decide), ("heal", one.recover))):
            if spread is not None:
                parts.append(_range(css, spread, top + 11 + 12 * line, x))
        if one.rto_ms is not None:
            at = x(one.rto_ms)
            title = f"<title>{escape(f'{one.kind}: promised within {one.rto_ms:g} ms')}</title>"
            parts.append(f"<line class='rto' x1='{at}' x2='{at}' y1='{top}' y2='{top + _KIND_ROW}'>{title}</line>")
    parts.append("</svg>")
    return _range_legend() + "".join(parts)


def _range(css: str, spread: Spread, y: float, x: _Scale) -> str:
    first, last = x(spread.p50_ms), x(spread.p99_ms)
    words = f"n {spread.n}, p50 {spread.p50_ms:.1f} ms, p99 {spread.p99_ms:.1f} ms, longest {spread.max_ms:.1f} ms"
    return (
        f"<g><title>{escape(words)}</title>"
        f"<line class='{css}l' x1='{first}' x2='{last}' y1='{y}' y2='{y}' stroke-width='3'/>"
        f"<circle class='{css}' cx='{first}' cy='{y}' r='4.5'/>"
        f"<rect class='{css}' x='{last - 1.5}' y='{y - 5}' width='3' height='10'/></g>"
    )


def _spreads(one: KindTimes) -> list[Spread]:
    return [spread for spread in (one.detect, one.decide, one.recover) if spread is not None]


def _power(power: int) -> str:
    value = 10.0**power
    if value >= 60_000_000:
        return f"{value / 60_000:g} min"
    return f"{value / 1e3:g} s" if value >= 1_000 else f"{value:g} ms"


def _label(text: str, y: float) -> str:
    """A row's name, cut in its middle when it is too long; whole in its tooltip."""
    short = text if len(text) <= 28 else f"{text[:12]}\N{HORIZONTAL ELLIPSIS}{text[-15:]}"
    return f"<text x='{_LEFT - 12}' y='{y}' text-anchor='end'>{escape(short)}<title>{escape(text)}</title></text>"


def _svg(height: float, title: str) -> str:
    return f"<svg viewBox='0 0 {_WIDTH} {height}' role='img'><title>{escape(title)}</title>"


def _legend() -> str:
    return (
        "<p class='dim'><svg viewBox='0 0 1130 20' role='img'><title>legend</title>"
        "<rect class='fault' x='0' y='4' width='22' height='12' fill-opacity='0.75'/><text x='28' y='14'>fault</text>"
        "<rect class='apart' x='72' y='4' width='22' height='12' fill-opacity='0.75'/>"
        "<text x='100' y='14'>fault that nothing has to notice, or without effect</text>"
        "<path class='sig' d='M410 14l-5 -9h10z'/><text x='422' y='14'>first signal</text>"
        "<path class='dec' d='M506 5l-5 9h10z'/><text x='518' y='14'>decided</text>"
        "<circle class='heal' cx='586' cy='10' r='5'/><text x='598' y='14'>recovered</text></svg></p>"
    )


def _range_legend() -> str:
    return (
        "<p class='dim'><svg viewBox='0 0 1130 20' role='img'><title>legend</title>"
        "<circle class='sig' cx='6' cy='10' r='5'/><text x='18' y='14'>detect</text>"
        "<circle class='dec' cx='76' cy='10' r='5'/><text x='88' y='14'>decide</text>"
        "<circle class='heal' cx='146' cy='10' r='5'/><text x='158' y='14'>recover</text>"
        "<text class='dim' x='226' y='14'>dot: median, end of the line: 99th percentile</text>"
        "<line class='rto' x1='500' x2='500' y1='2' y2='18'/><text x='510' y='14'>promised (RTO)</text></svg></p>"
    )
