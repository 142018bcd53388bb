"""The report as one plain HTML file: no script, nothing from elsewhere, for light and dark screens and paper. Pure."""

import re
from datetime import UTC, datetime
from html import escape
from string import Template

from supervisors.chaos import charts
from supervisors.chaos.attribution import APART
from supervisors.chaos.measures import FaultTimes, KindTimes, Spread
from supervisors.chaos.report import InvariantRow, Overall, Report
from supervisors.chaos.verdicts import State, Violation

_WORDS = {
    Overall.HELD: "held",
    Overall.NOT_CHECKABLE: "not checkable",
    Overall.UNFINISHED: "unfinished",
    Overall.DEVIATED: "deviated",
    Overall.VIOLATED: "violated",
    Overall.ABORTED: "aborted",
    Overall.NOT_REVERTED: "not reverted",
}
#: characters that have no place in XML, escaped or not
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GOOD = frozenset({Overall.HELD})
_UNSURE = frozenset({Overall.NOT_CHECKABLE, Overall.UNFINISHED})

_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#5b6570;--line:#d8dde3;--soft:#f4f6f8;--good:#18794e;
--bad:#c62a2f;--unsure:#8a6100;--bar:#e5484d;--bar2:#f3b0b2;--sig:#0b68cb;--dec:#8e4ec6;--heal:#18794e;--rto:#c62a2f}
@media (prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e6e9ed;--dim:#9aa4af;--line:#343b43;--soft:#1d2127;
--good:#4cc38a;--bad:#ff6369;--unsure:#e2a336;--bar:#e5484d;--bar2:#74343a;--sig:#70b8ff;--dec:#c4a0f0;--heal:#4cc38a;
--rto:#ff6369}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:28px 24px 60px;background:var(--bg);color:var(--fg);
font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:24px;margin:0 0 2px;line-height:1.25;overflow-wrap:anywhere}
h2{font-size:17px;margin:34px 0 8px;padding-top:10px;border-top:1px solid var(--line)}
p{margin:6px 0}.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad)}.unsure{color:var(--unsure)}
.verdict{display:inline-block;padding:3px 12px;border-radius:4px;border:2px solid currentColor;font-weight:700;
font-size:16px;text-transform:uppercase;letter-spacing:.04em}
.head{display:flex;gap:16px;align-items:baseline;flex-wrap:wrap;margin:12px 0 4px}
.figures{display:flex;flex-wrap:wrap;gap:10px;margin:16px 0}
.figures div{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:8px 14px;min-width:112px}
.figures b{display:block;font-size:20px;line-height:1.3;font-variant-numeric:tabular-nums}
.figures span{color:var(--dim);font-size:12px}
table{border-collapse:collapse;width:100%;font-size:13px}
th{text-align:left;color:var(--dim);font-weight:600;border-bottom:2px solid var(--line);padding:4px 10px 4px 0;
vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:5px 10px 5px 0;vertical-align:top;overflow-wrap:anywhere}
th.n+th:not(.n),td.n+td:not(.n){padding-left:8px}th.n,td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.k{white-space:nowrap;color:var(--dim)}td.w{white-space:nowrap}
.wide{overflow-x:auto}
code,pre{font:12px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:10px 12px;white-space:pre-wrap;
overflow-wrap:anywhere;margin:8px 0}
details{margin:6px 0}summary{cursor:pointer;color:var(--dim)}
ul{margin:4px 0 4px 18px;padding:0}li{margin:3px 0}
svg{display:block;width:100%;height:auto;font:11px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
svg text{fill:var(--fg)}svg .dim{fill:var(--dim)}svg .grid{stroke:var(--line);stroke-width:1}
svg .band{fill:var(--soft)}svg .fault{fill:var(--bar)}svg .apart{fill:var(--bar2)}
svg .lost{fill:var(--bar);stroke:var(--fg);stroke-width:1.5}
svg .sig{fill:var(--sig)}svg .dec{fill:var(--dec)}svg .heal{fill:var(--heal)}
svg .span{stroke:var(--dim);stroke-width:1}svg .sigl{stroke:var(--sig)}svg .decl{stroke:var(--dec)}
svg .heall{stroke:var(--heal)}svg .rto{stroke:var(--rto);stroke-width:1.5;stroke-dasharray:5 3}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--soft:#f6f6f6;--good:#116038;--bad:#a11;--unsure:#6d4c00;
--bar:#d33;--bar2:#f3b0b2;--sig:#0b58b0;--dec:#7038a8;--heal:#116038;--rto:#a11}
body{max-width:none;padding:0;font-size:11px;-webkit-print-color-adjust:exact;print-color-adjust:exact}
h2{break-after:avoid}tr,svg,.figures div{break-inside:avoid}thead{display:table-header-group}@page{margin:14mm}}
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="generator" content="rayvisor"/>
<title>$title</title>
<style>$style</style>
</head>
<body>
$body
</body>
</html>
""")


def render(report: Report) -> str:
    """The whole page; well-formed XML too. Every text of the run is escaped."""
    parts = [
        _head(report),
        _figures(report),
        _section("Invariants", _invariants(report)),
        _section("Timeline", charts.timeline(report)),
        _section("Times by kind of fault", charts.times(report.measures.kinds) + _kinds(report)),
        _section("Faults", _faults(report)),
        _section("Steady state", _steady(report)) if report.steady else "",
        _section("What was asked", _asked(report)),
        _section("Not read", _items(report.gaps)) if report.gaps else "",
    ]
    body = "\n".join(part for part in parts if part)
    title = _text(f"{report.title}: {_WORDS[report.verdict]}")
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", _PAGE.substitute(title=title, style=_STYLE, body=body))


def _text(value: object) -> str:
    return escape(str(value))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>\n{body}</section>"


def _head(report: Report) -> str:
    tone = "good" if report.verdict in _GOOD else "unsure" if report.verdict in _UNSURE else "bad"
    when = datetime.fromtimestamp(report.asked.started_utc / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    about = [f"{report.asked.kind} of system {report.asked.system}" if report.asked.system else str(report.asked.kind)]
    about += [when] if report.asked.started_utc else []
    about += [f"{duration(report.seconds)} long"]
    about += [f"seed {report.asked.seed}"] if report.asked.seed is not None else []
    return (
        f"<header><h1>{_text(report.title)}</h1><p class='dim'>{_text(', '.join(about))}</p>"
        f"<div class='head'><span class='verdict {tone}'>{_text(_WORDS[report.verdict])}</span>"
        f"<span>{_text(report.summary)}</span></div></header>"
    )


def _figures(report: Report) -> str:
    every = report.measures.all
    apart = sum(every.apart.values())
    boxes = [
        (str(len(report.faults)), f"faults of {_count(len(report.measures.kinds), 'kind')}"),
        (str(every.detect.n if every.detect else 0), f"noticed; {every.undetected} missed, {apart} apart"),
        (
            milliseconds(every.detect.mean_ms if every.detect else None),
            f"MTTD, n = {every.detect.n if every.detect else 0}",
        ),
        (
            milliseconds(every.recover.mean_ms if every.recover else None),
            f"MTTR, n = {every.recover.n if every.recover else 0}",
        ),
        (milliseconds(every.recover.p99_ms if every.recover else None), "recovered, p99"),
        (str(every.late), "later than promised"),
    ]
    if report.operations:
        total = sum(report.operations.values())
        words = ", ".join(f"{count} {name}" for name, count in sorted(report.operations.items(), reverse=True))
        boxes.append((str(total), f"client operations: {words}"))
    return (
        "<div class='figures'>"
        + "".join(f"<div><b>{_text(a)}</b><span>{_text(b)}</span></div>" for a, b in boxes)
        + "</div>"
    )


def _count(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _invariants(report: Report) -> str:
    rows = "".join(_invariant(row) for row in report.invariants)
    return _table(("", "invariant", "verdict", "looked at"), rows, numbers=(3,))


def _invariant(row: InvariantRow) -> str:
    one = row.verdict
    tone = {State.HELD: "good", State.VIOLATED: "bad", State.NOT_CHECKABLE: "unsure"}[one.state]
    mark = {State.HELD: "\N{CHECK MARK}", State.VIOLATED: "\N{MULTIPLICATION X}", State.NOT_CHECKABLE: "?"}[one.state]
    body = f"<b>{_text(one.name.replace('_', ' '))}</b><br/><span class='dim'>{_text(row.meaning)}</span>"
    body += "".join(_violation(broken) for broken in one.violations)
    if one.more:
        body += f"<p class='bad'>and {one.more} more</p>"
    if one.missing:
        word = "Not looked at" if one.state is not State.NOT_CHECKABLE else "Missing"
        body += f"<p class='dim'>{word}: {_text('; '.join(one.missing))}</p>"
    return (
        f"<tr><td class='k'>{one.id}</td><td>{body}</td>"
        f"<td class='{tone} w'><b>{mark} {_text(one.state.replace('_', ' '))}</b></td>"
        f"<td class='n'>{one.looked_at}</td></tr>"
    )


def _violation(one: Violation) -> str:
    at = f" <span class='dim'>t={one.at:.3f}</span>" if one.at is not None else ""
    lines = f"<pre>{_text(chr(10).join(one.evidence))}</pre>" if one.evidence else ""
    return f"<p class='bad'>{_text(one.text)}{at}</p>{lines}"


def _kinds(report: Report) -> str:
    rows = "".join(_kind(one) for one in (*report.measures.kinds, report.measures.all))
    names = (
        "kind",
        "faults",
        "detect p50",
        "p99",
        "decide p50",
        "p99",
        "recover p50",
        "p99",
        "max",
        "promised",
        "late",
        "apart",
    )
    return _table(names, rows, numbers=tuple(range(1, 11)))


def _kind(one: KindTimes) -> str:
    def pair(spread: Spread | None) -> tuple[str, str]:
        return (milliseconds(spread.p50_ms), milliseconds(spread.p99_ms)) if spread else ("", "")

    promised = milliseconds(one.rto_ms) if one.rto_ms is not None else ""
    slowest = milliseconds(one.recover.max_ms) if one.recover else ""
    cells = [
        str(one.faults),
        *pair(one.detect),
        *pair(one.decide),
        *pair(one.recover),
        slowest,
        promised,
        str(one.late),
    ]
    apart = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in one.apart.items())
    if one.undetected:
        apart = f"{one.undetected} missed" + (f", {apart}" if apart else "")
    name = f"<b>{_text(one.kind)}</b>" if one.kind == "all" else _text(one.kind)
    numbers = "".join(f"<td class='n'>{_text(cell)}</td>" for cell in cells)
    return f"<tr><td>{name}</td>{numbers}<td class='dim'>{_text(apart)}</td></tr>"


def _faults(report: Report) -> str:
    if not report.measures.faults:
        return "<p class='dim'>None was injected.</p>"
    began = report.asked.started
    rows = "".join(_fault(one, began) for one in report.measures.faults)
    names = ("at", "fault", "target", "what became of it", "detect", "decide", "recover", "first signal", "reverted")
    return _table(names, rows, numbers=(0, 4, 5, 6))


def _fault(one: FaultTimes, began: float) -> str:
    tone = (
        "dim" if one.fate in APART else "bad" if one.fate in ("undetected", "open", "gave_up") or one.late else "good"
    )
    fate = one.fate.replace("_", " ") + (f", {one.rung}" if one.rung else "") + (", late" if one.late else "")
    why = f"<br/><span class='dim'>{_text(one.why)}</span>" if one.why else ""
    reverted = "" if one.reverted is None else "yes" if one.reverted else "NO"
    reverted += f", after {milliseconds(one.revert_ms)}" if one.revert_ms is not None else ""
    cells = "".join(
        f"<td class='n'>{'' if value is None else milliseconds(value)}</td>"
        for value in (one.detect_ms, one.decide_ms, one.recover_ms)
    )
    return (
        f"<tr><td class='n'>{max(one.at - began, 0.0):.3f} s</td><td>{_text(one.kind)}<br/>"
        f"<span class='dim'>{_text(one.id)}</span></td><td>{_text(one.target)}</td>"
        f"<td><span class='{tone}'>{_text(fate)}</span>{why}</td>{cells}"
        f"<td>{_text(one.signal)}</td><td class='{'bad' if one.reverted is False else ''}'>{_text(reverted)}</td></tr>"
    )


def _steady(report: Report) -> str:
    rows = "".join(
        f"<tr><td class='n'>{one.at:.3f} s</td><td>{_text(one.name)}</td><td>{_text(one.when)}</td>"
        f"<td class='{'good' if one.ok else 'bad'}'>{'held' if one.ok else 'left'}</td><td>{_text(one.value)}</td></tr>"
        for one in report.steady
    )
    return _table(("at", "probe", "when", "tolerance", "value"), rows, numbers=(0,))


def _asked(report: Report) -> str:
    asked = report.asked
    pairs = [
        ("run", asked.id),
        ("kind", asked.kind),
        ("system", asked.system),
        ("topology digest", asked.topology_digest),
        ("data directory", asked.data_dir),
        ("seed", "" if asked.seed is None else asked.seed),
        *sorted(asked.options.items()),
        *sorted(asked.environment.items()),
    ]
    rows = "".join(
        f"<tr><td class='k'>{_text(key)}</td><td>{_text(value)}</td></tr>" for key, value in pairs if value != ""
    )
    again = f"<p>Do it again:</p><pre>{_text(asked.replay)}</pre>" if asked.replay else ""
    text = f"<p>Experiment:</p><pre>{_text(asked.experiment)}</pre>" if asked.experiment else ""
    return f"{again}<table>{rows}</table>{text}"


def _items(lines: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _table(names: tuple[str, ...], rows: str, numbers: tuple[int, ...] = ()) -> str:
    head = "".join(f"<th class='{'n' if at in numbers else ''}'>{_text(name)}</th>" for at, name in enumerate(names))
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def milliseconds(value: float | None) -> str:
    """A time for people: three significant figures, in the unit that suits it."""
    if value is None:
        return "-"
    if value >= 60_000:
        return f"{value / 60_000:.3g} min"
    return f"{value / 1e3:.3g} s" if value >= 1_000 else f"{value:.3g} ms"


def duration(seconds: float) -> str:
    """A length of time for people."""
    return f"{int(seconds // 60)} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.1f} s"
