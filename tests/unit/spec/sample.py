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
    recovery: null
  supervisor:
    strategy: one_for_one
    intensity: 3
    period: 5s
    budgets: [{kinds: [node_lost], intensity: 4, period: 30s}, {kinds: [oom, killed]}]
    on_supervisor_crash: adopt
    shutdown: infinity
policies:
  calm: {backoff: {cap: 5s}, max_consecutive: 4}
  patient: {extends: calm, restart: transient}
spares: 1
plane: {transport: ipc, bind: 0.0.0.0, death_watch: pidfd}
metrics: {enabled: false, host: "::1", port: 0}
state: postgresql://rayvisor@db.example:5432/rayvisor?connect_timeout=1
logs: {level: DEBUG, rotate: 1MiB, keep: 2, lines_per_second: 10}
trail: {rotate: 5MB, keep: 1}
environment: production
faults:
  enabled: true
  max_targets: 2
  longest: 5m
  allow_in_production: cell
  inject:
    - {fault: kill, path: /feed, params: {signal: TERM}, after: 5s, for: 10s, probability: 0.5, first: 1, seed: 7}
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
    - id: orders
      actor: actors.base:Actor
      placement: {anti_affinity: [/orders]}
      recovery:
        ladder: [hot, warm, cold]
        standbys: 1
        standby: live
        rto: 10s
        rung_timeout: {hot: 1s, warm: 4s, cold: 15s}
        rules:
          - {when: standby_synced, max_lag: 500ms, then: hot}
          - {when: checkpoint_fresh, max_age: 2m, then: warm}
          - {when: failure_class, classes: [node, oom], then: cold}
          - {when: corruption_suspected, then: manual}
          - {when: failed_recoveries, at_least: 2, within: 30m, then: manual}
          - {when: volatility, above: 3.5, then: manual}
          - {when: failures_at_once, at_least: 5, within: 2s, then: manual}
          - {when: market_open, then: warm}
          - {when: rto_left, below: 1s, then: cold}
          - {when: always, then: cold}
        checkpoint: {every: 30s, events: 1000, fresh_for: 2m, keep: 2, verify_every: null}
        journal: {ack: both, segment: 1MiB, retain: 24h, standby_timeout: 200ms}
        lease: {renew: 500ms, expire: 3s, margin: 500ms, on_store_loss: continue_if_all_peers_agree}
        approval:
          timeout: 1m
          market_hours: {timezone: America/New_York, open: "9:30", close: "16:00", days: [fri, mon]}
        ramp: {steps: [{size: 0, for: 1m}, {size: 0.5, for: 30s}, {size: 1}], after: [cold, manual]}
        validate:
          - name: up
            worker: /feed
            method: health
            phase: short
            timeout: 1s
            attempts: 2
            pause: 100ms
            required: false
            args: {a: [1, null]}
        keep_failed: 3
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
