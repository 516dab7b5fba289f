"""Shield: an edge origin proxy, a CDN shield appliance. This is the map of the house.

A CDN asks for `/images/abc/thumb.webp`. Shield answers from RAM or disk, or brings the object once from the best of
several S3 origins while every client that asked meanwhile streams the same bytes.

Two lives:

- the life of a request (`proxy`, `transfer`) ends with its client
- the life of a fill (`fill`), which brings one entry into the store, belongs to no client

Two questions, two pure functions, and all of RFC 9111 behind them (`rules.verdict`):

- before the origin `judge_lookup`: HIT, STALE, REVALIDATE, MISS, BYPASS
- after the origin `judge_response`: store, share with those present, leader only

Rooms, from the top down. Arrows point down only; `tests/test_architecture.py` holds them to it.

    __main__    python -m shield
    cli         commands: parse, call, print; no logic of their own
    supervisor  the parent of several workers: binds, forks, watches, replaces, stops
    private     the directory of the workers' sockets
    worker      one worker process: sockets, signals, readiness, drain
    app         composition root: build(settings) joins all parts; with build, the only room that sees settings
    build       parts made of settings: regime, origins, storage, listeners
    node        a node: its fronts, and services that are opened, ticked and closed in order
    figures     statistics as state and metrics
    peers       how the workers of a node ask each other; front: answers them, above edge; owners: asks the worker
                that owns a key; words: their protocol; watch: ends waits for workers that hang
    edge        connection: the HTTP/1.1 front with the fast lane, on reading (heads) and life (beginning and end);
                states: its states; front: what connections of a listener share; turn: requests that aren't plain;
                asgi: the same for HTTP/2 and HTTP/3 servers; hypercorn: what that one lacks; guard: access; door: who
                may come in, and who gives way; heads; pace: slow readers; tls: handshakes
    admin       health, readiness, metrics, state, removal; visitors: the names it answers to; listener: its
                connections and their time
    proxy       life of a request: try_hit (the hot path) or a Transfer
    transfer    a request that waits for a disk or an origin: a reader of fills on behalf of one client
    choice      what a request gets of a fill's answer, and what is fetched besides
    reply       answers ready to be written: of an entry, or our own
    purge       removing entries on demand
    fill        fill: one fetch and its readers; settlement: what becomes of an answer once its head is here; means:
                what fills need; readers; window: a body that isn't kept; sliced: a large entry and its readers;
                shelf: its slices in memory and on disk; runs: fetches of them; setbacks: fetches that failed for a
                while; whose: readers whose answer it isn't; table, registry: which fills are shared; buffer: bytes in
                flight and their bound
    store       tiers: all of it as one store; removals: what is gone, and in which order; entry: a stored response;
                variants: by what answers vary; memory: the RAM tier (S3-FIFO); pending: on its way to a disk; disk:
                what moves between disk tiers; slices: a large entry's body; volume: a directory that comes and goes;
                backlog: what its writer has to do; admission; shares: RAM that one key's variants use. directory/:
                one cache directory, made of home, claim, premises, index (LMDB) and its change and values, segments,
                record, log (writing), room, reading, condition, reclaim, rebuild, scanning, all on the system through
                files. upkeep/: visit, listing, scrub, moving, intake, customs, ground, for people
    origin      want: what is asked for and what comes; origin: one attempt; refusal, decoding: errors read; by_get:
                HEAD where only GET works; origins: carries the schedule out; signer: request heads; pool, dial,
                connection, response, chunks, head, pieces, line_ends: the HTTP/1.1 leg; conduct: bodies behind
                answers that have none; health: ill addresses; resolver, tls
    observe     accounting: the end of every request; readiness; counters, metrics, report: all workers' figures
                together; access log, log of events
    regime      the rules in force as one immutable value: routes, access, limits; swapped in one assignment
    shared      memory of all workers of a node: removals, hits, standing, signs of life, homes of directories
    heap        freed memory that goes back to the system
    complaints  a trouble that lasts, said once in ten seconds
    outcome     what became of a request -> Cache-Status, log fields, metric labels; Exchange: all that is known of it
                at its end
    config      settings: every default and limit, with unit and reason; loading: YAML, environment, secret files, and
                for each problem its place
    rules       PURE decisions: key, routes, cache_control, freshness, verdict, ordinary (nearly all responses, in one
                step), conditional, ranges, multipart, selection, vary, headers, fields, structured, targeted, tags,
                loops, access, addresses, signed_urls, link_lifetime, limits, digests, hidden, interim, dates,
                routing, schedule, budget, denials, persistence, locations, policy, reach, rendezvous, sigv4,
                providers, s3_errors
    errors      ShieldError and what is below it
    messages    Request, ResponseHead: our words for HTTP, free of any framework

A hit: `edge.connection` parses, `proxy.try_hit` finds the entry in the RAM tier and a ready-made head, or reads and
checks it in one call from a disk whose pages are in memory, the connection writes it; no task, no await, no timer.
What is cold is read by a thread. A miss: `proxy.open` makes a `Transfer`, which joins the fill of its key in the
`FillTable`; the fill's task asks `Origins.fetch`, which carries out a `Schedule` within one deadline and commits to
the first origin that has the object; `settle` says what becomes of the answer; then bytes are pushed by callbacks
from the origin's connection through the fill's buffer to each reader at its own speed, and a complete, checked body
becomes an entry. A large object goes on as a `SlicedFill`: its slices are written to disk as they complete, and
read from there by everyone, each at its own speed.
"""

__version__ = "0.1.0"
