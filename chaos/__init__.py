"""The chaos harness: real processes, real sockets, faults at every instant, and a checker of the promise.

`python -m chaos --seeds 20`; see docs/reliability.md. Not shipped.

| module | what |
|---|---|
| `scenario` | pure: seed → plan (messages, faults) |
| `messages` | pure: a planned message → its bytes |
| `dpi` | the DPI: sends, is cut, sends again |
| `wire` | a TCP relay that cuts connections at a given byte |
| `counterparts` | DMP and MSSanté simulators, each a process of its own |
| `cluster` | gateway nodes: start, kill, stop, journal |
| `sqlite`, `postgres` | one node on one file; two on one database |
| `server` | a PostgreSQL server of our own |
| `disk` | slow, full, read-only disk, power cut, clock jump (a library preloaded into the gateway) |
| `seed` | one seed, from the plan to its history |
| `history` | what was seen from outside, as JSON lines |
| `checker` | pure: plan and history → what was broken |
| `run` | the command |
"""
