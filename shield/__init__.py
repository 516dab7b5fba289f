"""Shield: an edge origin proxy, also known as a CDN shield. This is the map of its source.

A CDN requests `/images/abc/thumb.webp`. Shield answers from RAM or disk, or fetches the object once from the best of
several S3 origins while every client that requested it meanwhile streams the same bytes.

Two lifetimes:

- a request (`proxy`, `transfer`) ends with its client
- a fill (`fill`), which brings one entry into the store, belongs to no client

Two decisions, two pure functions, and all of RFC 9111 behind them (`rules.verdict`):

- before the origin `judge_lookup`: HIT, STALE, REVALIDATE, MISS, BYPASS, REFUSE
- after the origin `judge_response`: store, share with the requests that are waiting, leader only

Packages and modules, from the top down. Imports point down only; `tests/test_architecture.py` checks that.

    __main__    the command `shield`
    cli         the commands, which parse, call and print, and have no logic of their own; admin: requests to the
                running node
    start       the beginning of `shield serve`; serving: its settings, and the node that they make
    supervisor  the parent of the workers: its loop, stopping. posts: the workers and their processes; reloads: of the
                settings; upgrades: of the program; agreement: all workers on a reload; resources: memory, listeners,
                sockets
    private     the directory of the workers' sockets
    sole        one node at a time: locks on files that outlast it
    lifecycle   the node as a service: notify: messages to the service manager; activation: sockets passed by it;
                listening: sockets bound; program: the command, and the trial of a new version; terms: agreement
                needed between two versions; handover: from one to the other
    worker      one worker process: sockets, signals, readiness, drain
    follower    a worker's part in reloads
    app         composition root: build(settings) joins all parts; only app and build see settings
    build       parts made of settings: regime, origins, cluster, spreading, storage, listeners, replies, fills,
                drills, probes, alarms, edges, tracing, buckets to audit; edition: the settings at one time; tokens:
                of the admin API; inspection: settings as they are shown; renewal: other settings while the node
                serves; secrets: files with secrets and certificates, followed; keys: credentials from commands and
                clouds' chains; usage: the ledger of egress; sights: workers' observations of misses; simulation:
                terms of simulated nodes
    node        a node: its fronts, and services that are opened, ticked and closed in order
    alarms      the node's alarms, for people: watch: judges and sends, for all workers; signs: of trouble; posting:
                requests to webhooks; memory: of all workers
    checkup     whether the node can serve, for load balancers and DNS
    figures     statistics as state and metrics; cluster_figures: those of the cluster; spread_figures: of orders
                between its nodes; families: metrics of origins; gate_figures: those of origins' limits;
                client_figures: of clients; store_figures: of tiers; process_figures: of the process; purge_figures:
                of purges; budget_figures: of budgets of egress
    audit       comparison of the objects of origins: listing: a page; merge: rows of several; judgement: differences;
                run: a whole audit; outputs: of given paths; bucket: requests to an origin; place: a saved position to
                resume from
    simulate    replays of access logs: traffic: their requests, in samples; node: routes, tiers and freshness without
                bytes, with entries, on disks; large: those read in slices; results: figures and their price; chart:
                drawings of them; queries: parameters without effect
    peers       requests between workers, sent by asking in the protocol of words. Of a node: front: answers them,
                above edge; owners: sends them to the worker that owns a key; watch: ends waits for workers that hang.
                Of a cluster: node_front: answers other nodes; cluster: asks the node that owns a key; copies: hot
                ones, of others' entries; behind: nodes that lack purges; nodes: connections to them, and which are
                down; other: one of them; members: of the cluster, by DNS, and called: their own names; parting: the
                hottest entries, handed over by a node that stops
    edge        connection: HTTP/1.1 with the hot path, on plain (heads read without a parser), reading (others,
                parsed) and life (open and close); states: its states; front: shared state of a listener's
                connections; turn: checks of requests that aren't plain; asgi: an application for other servers;
                hypercorn: workarounds for that server; guard: access; door: limits on connections; rates: limits on
                requests; heads; pace: slow readers; tls: handshakes. http2/: connection: HTTP/2 on h2, on sending
                (turns and the end); stream: a request and its response; frames: cut and counted; heads: HPACK without
                a table; traffic: figures; front: the protocol agreed on in TLS
    admin       api: the application, made of operations: request, response and required role of each; openapi: the
                document made of them, of parts in schemas; problems: errors (RFC 9457); doorkeeper: admits callers by
                their tokens; visitors: accepted host names; listener: its connections and their timeouts. watching:
                health, readiness, metrics, state; purge, removal, takedown, announce, warm, ramps; reload, upgrade:
                of the program; origins, drill: orders on them; decisions: their basis; auditing: the audit log;
                configuration: the settings in force; log_level: another one for a while; entries: stored under a URL;
                budgets, suspects, alarms: listed; top: top lists; livelog: requests as they happen; page: for people,
                of the files in static/, on feed: live figures
    warm        objects fetched before clients request them
    proxy       a request: try_hit (the hot path) or a Transfer
    transfer    a request that waits for a disk or an origin: a reader of fills on behalf of one client
    delivery    the part of a fill's response that a request gets, its outcome, and further fetches for it
    tracing     tracer: which requests are traced; spans: their shapes; export: the thread that sends them; service:
                on and off by the settings
    reply       responses ready to be written: of an entry, or our own
    announce    announcements of new, changed and deleted objects, carried out
    purge_request  PURGE on the listeners for clients
    distrust    removes the entries from an origin that turns out to be corrupt
    spread      orders that hold at all nodes of a cluster: everywhere: accepts them; journal: all that a node knows,
                on disk; spreader: brings them to the others; exchange: from node to node; line: over the bus, and
                link: to this; hands: those of others, carried out; hints: on origins, objects and ramps; sight: of
                the others, or blindness; latecomers: nodes that couldn't be asked at the start; owed: orders from
                before it that others lack; outdating: of everything, after orders were lost; limits: rate limits of
                all nodes together
    purge_orders  orders to purge, carried out once each, with receipts and a log
    purge_forecast  the extent of an order to purge, and the load on the origins if all of it is fetched again
    purge       removing entries on demand, making them stale, and taking objects down
    purge_upkeep  the rest of a purge, in the background: RAM and disks are swept, marks forgotten
    purge_log   the log of purges, a copy in each place: marks, and orders with their ids
    fill        fill: one fetch and its readers; fetching: its fetch; settlement: the use of a response once its head
                has arrived; means: dependencies of fills; readers, and the one that pays; pacing: the lead of a fill
                on its readers; window: a body that isn't kept; rest: of a body that broke off, from any origin with
                the same bytes; sliced: a large entry and its readers; shelf: its slices in memory and on disk; runs:
                fetches of them; run: one of these; versions: of responses and entries; lookout: for bodies that are
                late; audience: the readers of those; telling: readers that are told together; traces: of fills and
                runs; excerpts, touches: exact parts of slices, for short ranges; setbacks: fetches that failed for a
                while; doubt: keys that changed lately; whose: readers that must not get the response; sorting:
                responses that aren't ordinary, by variant; spotchecks: comparison with other origins' copies; table,
                registry: shared fills; buffer: bytes in flight and their limit
    drill       faults injected at an origin to prove that failover works: drills: of one worker, and the conductor's
                part; faults: injected, and requests that go elsewhere; memory: of all workers; history: reports
    cdn         purges passed on to CDNs: passing: when, and again; outbox: calls that wait, on disk; posting: calls
                of their APIs; keys: that admit these; parting: calls finished or handed over by a node that stops;
                doubts: objects of corrupt origins; whole: everything at one of them, once for a cluster
    decisions   the node's knowledge of its origins at any time of the last day, on disk
    store       tiers: all of it as one store; removals: removed entries, and their order; notices: of them, to other
                workers; entry: a stored response; variants: the fields by which responses vary; memory: the RAM tier;
                packed: its entries as bytes; fifo: which of them stay (S3-FIFO); plain: responses from it; pending:
                entries being written to a disk; disk: moves between disk tiers; slices: a large entry's body; volume:
                a directory that may fail and return; sweeping: clears it of purged entries; backlog: its writer's
                queue; admission; takedowns: their file; contents: entries stored under a key; shares: RAM used by one
                key's variants. directory/: one cache directory, made of home, claim, premises, index (LMDB) and its
                change and values, segments, record, log (writing), room, reading, condition, reclaim, rebuild, sweep,
                scanning, all on the system through files. upkeep/: visit, listing, scrub, moving, intake, customs,
                ground, for maintenance
    origin      want: a request to an origin and its result; asked: as it is sent; origin: one attempt, and attempt:
                one by callbacks; plain: fetches by these, without a task; lot: the origins in use; note: its results,
                for all workers; statistics: its figures; faults: their meaning for health; refusal, decoding: errors;
                by_get: HEAD where only GET works; version, copies: the same bytes from any origin that is proven to
                have them; damage: bodies that don't match their checksum; origins: fetches from the best of several;
                race: attempts beside a late one; hedging: those of hedges; traced: of a trace; lag: of copies behind
                the primary; waiting: for one of them alone, and until when; turns: while all origins are bad;
                conductor: judges origins for all workers, and probes them; ranker: their order by cost; limiting:
                learns their capacity; gate: holds requests to it, and misses wait; thrift: of budgets; ramps: new
                origins; drains: origins that get no fetches, by order; prober: regular probes; probe_notes: their
                results in shared memory; request_heads, signer; rotation: new credentials, tried first; key_sources:
                commands, AWS's chain; pool, dial, connection, response, chunks, head, pieces, line_ends: the HTTP/1.1
                client; terms, alarm: its time limits; flow: a cap on bytes; inflow: the kernel's receive buffer;
                conduct: bodies after responses that have none; health: failing addresses; resolver, tls; canary:
                examines an origin for `check --online`; drilling: the place of a drill
    observe     accounting: the end of every request; lags: figures of replication; readiness; counters, metrics,
                report: figures of all workers together; continuity: of those that are gone, too; access: the log of
                requests, made of lines: exchanges as JSON, or of record: their fields by name, and output: its file;
                request_ids: identifiers; logs: the log of events; levels: its level, changed for a while; livelog:
                requests as they happen; top: top lists, on heavy: hitters of a stream; suspects: tallies of the
                costliest
    regime      the rules in force as one immutable value: routes, access, limits; swapped in one assignment
    shared      memory shared by all workers of a node: removals, hits, standing, heartbeats, homes of directories
    records     the part of it about origins: results of all workers' fetches, and each origin's standing
    ramping     the words there on an origin whose share of keys grows
    timings     times of origins' responses by size, shared by all workers
    rankings    the order of origins by cost, shared by all workers
    egress      bytes and requests at origins: meter: counts them by origin, route and reason, below origin; tags: by
                tags of responses; ledger: on disk; keeper: all workers' counts on their way there; budgets: of a day
                or a month, held to; spikes: far more than usual at this hour; foretelling: the cost of failovers and
                lifetimes
    leases      the words there on the limit of an origin, and each worker's lease on it
    bus         the medium shared by the nodes of a cluster: bus: its four verbs; engine: on Valkey or Redis; address:
                of one; clients: of it, with sentinels, or as a cluster; reasons: why it can't be used
    rate_cells  the budgets of rate limits there
    changed     the part of it about keys that were purged or announced lately, or taken down
    spending    the budgets of origins for extra fetches, shared by all workers
    ramp_table  the ramps of new origins, likewise
    budget_cells  the egress of origins in this hour, day and month, and budgets' measures, likewise
    canary_notes  drained origins, and knowledge of canaries, likewise
    heap        returns freed memory to the system, and lets the garbage collector make no pauses
    histograms  times in fixed buckets, summed over workers
    process     memory, CPU, descriptors and garbage collections of this process
    compiled    whether this installation is
    generated   methods of dataclasses, compiled once for all starts
    complaints  warnings about a lasting problem, at most one in ten seconds
    chance      numbers for jitter and sampling
    kept        files in the state directory, for the time while the node is stopped
    sqlite      files there that several processes share by transactions
    outcome     the outcome of a request -> Cache-Status, log fields, metric labels; Exchange: all records of it
    trace       records of a fetch and its requests to origins, for spans
    config      settings: every default and limit, with unit and reason; loading: YAML, environment, secret files, and
                the position of each problem; changes: which of them a running node takes over; anew: secrets read
                again; glimpse: the listeners of a file that can't be used
    rules       PURE decisions: key, routes, cache_control, freshness, verdict, ordinary (nearly all responses, in one
                step), conditional, ranges, multipart, selection, vary, heads, headers, fields, structured, targeted,
                tags, loops, access, addresses, signed_urls, link_lifetime, limits, digests, checksums (of whole
                bodies), identity (of bytes at several origins), lateness (of bodies), hidden, interim, dates,
                log_lines (of the access log), log_query, logged (lines of access logs), listed (sizes in listings),
                ranking, distance, choice (their order by cost), prices, ramp (a new origin's share), spotchecks,
                health, positions (which origins are asked), drains, probing, checkup (whether a node serves),
                latency, attempts (when, and for how long), egress (reasons of fetches), budgets, spikes, suspects,
                foretold (of it), bill, zones (days and months of providers), sites (where origins were), focus (its
                rows for FinOps tools), reports (of providers, on reads), reconcile (with the ledger), advice (changes
                that save), key_trial, key_renewal (credentials), moments (dates as people write them), absence,
                changes, announcements, lag, throttling, budget, hedge, denials, rate_limit, warming, persistence,
                exact, amplification, locations, policy, reach, certificates, rendezvous, ring (of nodes), heat (of
                keys), beyond (whether another region is asked), heritage (of a node that was away), peer_auth (proof
                that one is a node), peer_secrets (while others replace them), sigv4, providers, s3_errors, canaries,
                pseudo_fields (requests of HTTP/2), floods, drill, decisions, summaries (of bodies, for the audit
                log), log_level, tokens (of callers of the admin API); written: URLs, keys and prefixes as people
                write them; purge_orders: orders to purge as they are written; spreading: orders on their way to all
                nodes; hints that nodes give each other; purge_scope: the extent of an order, and the cost of fetching
                it again; purge_access: senders of PURGE; edge_purge: calls of CDNs' APIs; purging: marks of purges,
                under which entries fall; purge_lines: those of the log of purges; alarms (from their beginning to
                their end), alarm_signs (their causes), webhooks (requests, signatures and attempts), traceparent
                (Trace Context)
    errors      ShieldError and its subclasses
    messages    Request, ResponseHead: HTTP messages, free of any framework
    replaced    files that belong together, and whether all of them have been replaced
    line        messages between the supervisor and a worker
    signals     the supervisor's signals, to wait for beside sockets

A hit: `edge.plain` reads the head; `proxy.try_hit` finds the entry and its ready-made head in the RAM tier, or reads
and verifies it in one call from a disk whose pages are in memory; the connection writes it. No task, no await, no
timer. Cold entries are read by a thread. A miss: `proxy.open` makes a `Transfer`, which joins the fill of its key in
the `FillTable`; the fill calls `Origins.begin`, by callbacks alone as long as the best origin responds in time, else
in a task, which tries origins by their health within one deadline and commits to the first that has the object;
`settle_ordinary`, or else `settle`, decides on the response; then callbacks push the bytes from the origin's
connection through the fill's buffer to each reader at its own speed, and a complete, verified body becomes an entry.
A large object continues as a `SlicedFill`: its slices are written to disk as they complete, and every reader reads
them from there at its own speed.
"""

__version__ = "0.1.0"
