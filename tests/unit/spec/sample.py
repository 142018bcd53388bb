"""A topology that uses every key, for the tests of this room."""

FULL = """\
version: 1
system: cell
defaults:
  child:
    restart: permanent
    shutdown: 5s
    start_timeout: 20s
    ready_timeout: null
    heartbeat: {interval: 100ms, missed: 3, hang_after: 2s}
    backoff: {base: 100ms, cap: 30s, jitter: 50ms, immediate: 1, reset_after: 10s}
    max_consecutive: 10
  supervisor: {strategy: one_for_one, intensity: 3, period: 5s, on_supervisor_crash: adopt, shutdown: infinity}
policies:
  calm: {backoff: {cap: 5s}, max_consecutive: 4}
  patient: {extends: calm, restart: transient}
spares: 1
plane: {transport: ipc, bind: 0.0.0.0, death_watch: pidfd}
metrics: {enabled: false, host: "::1", port: 0}
logs: {level: DEBUG, rotate: 1MiB, keep: 2, lines_per_second: 10}
trail: {rotate: 5MB, keep: 1}
tree:
  strategy: one_for_one
  children:
    - id: feed
      actor: actors.base:Actor
      policy: patient
      heartbeat: {interval: 50ms}
      shutdown: brutal_kill
      significant: false
      placement:
        {node: launch, labels: {zone: a}, resources: {GPU: 0.5}, num_cpus: 1, anti_affinity: [/cell/md]}
    - id: cell
      strategy: rest_for_one
      intensity: 5
      auto_shutdown: any_significant
      restart: transient
      on_supervisor_crash: terminate
      children:
        - {id: md, actor: "queue:Queue", config: {maxsize: 3}, restart: transient, significant: true}
    - id: pool
      strategy: simple_one_for_one
      max_children: 100
      template: {actor: "queue:Queue", config: {maxsize: 1}, restart: transient, backoff: null, ready_timeout: 1m}
      initial: [{maxsize: 2}, {}]
"""


def workers(*lines: str, before: str = "") -> str:
    """A topology whose root has the children ``lines`` (flow mappings without the braces)."""
    return f"{before}tree:\n  children:\n" + "".join(f"    - {{{line}}}\n" for line in lines)


def unmark(text: str) -> tuple[str, list[tuple[int, int]]]:
    """``text`` without its ``§`` marks, and line and column (from 1) of what stands behind each."""
    places: list[tuple[int, int]] = []
    clean = ""
    for part in text.split("§"):
        clean += part
        places.append((clean.count("\n") + 1, len(clean) - clean.rfind("\n")))
    return clean, places[:-1]
