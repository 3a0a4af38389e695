-- The schema as all migrations build it, for readers. A test compares the two.

-- One row: which database this is. Flight files name it, so that a file cannot be applied to another database.
CREATE TABLE store (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    store_id   TEXT NOT NULL,                     -- 128 random bits, hex
    created_at INTEGER NOT NULL
) STRICT;

-- Which relays may carry a message is decided by who it is from and by what the operator named; campaigns that agree
-- in this share a route, so that a claim asks for a handful of routes and not for thousands of campaigns.
CREATE TABLE route (
    id            INTEGER PRIMARY KEY,
    author        TEXT NOT NULL,                  -- address of the header From
    envelope_from TEXT NOT NULL,                  -- address of MAIL FROM, may be empty
    relays        TEXT NOT NULL,                  -- JSON array of relay names in order; empty: any that may carry both
    UNIQUE (author, envelope_from, relays)
) STRICT;

CREATE TABLE campaign (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: Message-IDs are derived from it
    name         TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL CHECK (kind IN ('campaign', 'send')),
    state        TEXT NOT NULL CHECK (state IN ('loading', 'scheduled', 'running', 'paused', 'cancelling', 'cancelled', 'finished')),
    version      INTEGER NOT NULL,                -- the content that messages not yet attempted are sent with
    settings     TEXT NOT NULL,                   -- JSON: what the operator asked for, as far as it is not content
    route_id     INTEGER NOT NULL REFERENCES route (id),
    priority     INTEGER NOT NULL CHECK (priority BETWEEN -10 AND 10),
    on_uncertain TEXT NOT NULL CHECK (on_uncertain IN ('resend', 'hold')),
    start_at     INTEGER,
    expires_at   INTEGER,
    reason       TEXT NOT NULL DEFAULT '',        -- why it is in this state, where that needs a word
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER
) STRICT;
CREATE INDEX campaign_open ON campaign (state) WHERE state NOT IN ('finished', 'cancelled');

-- What is sent: immutable, one row a version.
CREATE TABLE content (
    campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    version     INTEGER NOT NULL,
    digest      TEXT NOT NULL,
    body        TEXT NOT NULL,                    -- JSON
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, version)
) STRICT;

CREATE TABLE attachment (
    digest TEXT PRIMARY KEY,                      -- SHA-256 of data, hex
    data   BLOB NOT NULL
) STRICT;

CREATE TABLE content_attachment (
    campaign_id INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    digest      TEXT NOT NULL REFERENCES attachment (digest),
    PRIMARY KEY (campaign_id, version, digest),
    FOREIGN KEY (campaign_id, version) REFERENCES content (campaign_id, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX content_attachment_digest ON content_attachment (digest);

-- A load in progress: its rows cannot be claimed. The row goes when the load is released or removed.
CREATE TABLE load (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    campaign_id      INTEGER NOT NULL UNIQUE REFERENCES campaign (id) ON DELETE CASCADE,
    first_message_id INTEGER NOT NULL,            -- its messages have this id or a higher one
    owner            TEXT NOT NULL,               -- random: whoever holds it may write; taking over changes it
    loader           TEXT NOT NULL,               -- host and pid, for people
    heartbeat_at     INTEGER NOT NULL
) STRICT;

-- (campaign, destination group), one a load: the unit of fairness, pausing and counting.
CREATE TABLE lane (
    id          INTEGER PRIMARY KEY,
    campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
    load_id     INTEGER NOT NULL,
    destination TEXT NOT NULL,
    route_id    INTEGER NOT NULL REFERENCES route (id),
    weight      INTEGER NOT NULL CHECK (weight > 0),
    state       TEXT NOT NULL CHECK (state IN ('closed', 'idle', 'waiting', 'open')),
    wake_at     INTEGER,                          -- waiting: when its first message is due
    pass        INTEGER NOT NULL,                 -- its turn: the lane with the lowest pass is visited next
    UNIQUE (campaign_id, load_id, destination),
    CHECK ((state = 'waiting') = (wake_at IS NOT NULL))
) STRICT;
CREATE INDEX lane_turn ON lane (pass, id) WHERE state = 'open';
CREATE INDEX lane_wake ON lane (wake_at) WHERE state = 'waiting';

-- How many messages of a lane are in each state. `in_doubt` counts a mark, not a state.
CREATE TABLE tally (
    lane_id INTEGER NOT NULL REFERENCES lane (id) ON DELETE CASCADE,
    state   TEXT NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (lane_id, state)
) STRICT, WITHOUT ROWID;

-- One row a recipient. Nothing that changes on the way of a message that is sent at once is indexed, and nothing refers
-- to it by an unindexed foreign key: `mailer db check` verifies those references instead.
CREATE TABLE message (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: a load's messages are those above its first
    campaign_id      INTEGER NOT NULL REFERENCES campaign (id),
    lane_id          INTEGER NOT NULL,
    address          TEXT NOT NULL,               -- as the operator wrote it
    address_key      TEXT NOT NULL,               -- as it is compared: lower case, domain as A-labels
    fields           TEXT NOT NULL,               -- JSON object
    state            TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'deferred', 'failed', 'uncertain', 'suppressed', 'cancelled', 'bounced')),
    due_at           INTEGER,                     -- waiting or sending: since when, or when, it is its turn
    version          INTEGER,                     -- content version of its attempts; null before the first
    attempts         INTEGER NOT NULL DEFAULT 0,
    refusals         INTEGER NOT NULL DEFAULT 0,
    losses           INTEGER NOT NULL DEFAULT 0,
    deaths           INTEGER NOT NULL DEFAULT 0,  -- workers that died with it in work
    first_refused_at INTEGER,
    in_doubt         INTEGER NOT NULL DEFAULT 0 CHECK (in_doubt IN (0, 1)),
    reason           TEXT NOT NULL DEFAULT '',
    UNIQUE (campaign_id, address_key)
) STRICT;
-- Those about which there is something to ask: `message list --state failed` finds three among a million. What is sent at
-- the first attempt, which is nearly all, never enters it.
CREATE INDEX message_troubled ON message (id, state)
    WHERE (state NOT IN ('queued', 'sending', 'sent') OR (attempts > 0 AND state <> 'sent'));

-- What waits for its turn: exactly the messages that are queued, deferred, or uncertain and to be sent again.
-- retry = (attempts > 0): due retries and new messages are taken one for one.
CREATE TABLE ready (
    lane_id    INTEGER NOT NULL,
    retry      INTEGER NOT NULL CHECK (retry IN (0, 1)),
    due_at     INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (lane_id, retry, due_at, message_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE worker (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    incarnation  TEXT NOT NULL UNIQUE,            -- 128 random bits, hex; names its flight file
    host         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    boot_id      TEXT NOT NULL,
    processes    INTEGER NOT NULL,
    slots        INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('live', 'ended', 'dead')),
    state_dir    TEXT NOT NULL,
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL,
    lease_until  INTEGER NOT NULL,
    exchange_n   INTEGER NOT NULL DEFAULT 0,
    claim_n      INTEGER NOT NULL DEFAULT 0       -- last claim number given out
) STRICT;
CREATE INDEX worker_live ON worker (state) WHERE state = 'live';

-- What is in hand: exactly the messages that are sending. An outcome applies while its row is here.
CREATE TABLE claim (
    worker_id  INTEGER NOT NULL REFERENCES worker (id),
    n          INTEGER NOT NULL,
    message_id INTEGER NOT NULL UNIQUE,
    lane_id    INTEGER NOT NULL,
    relay      TEXT NOT NULL,
    waited_as  TEXT NOT NULL,                     -- the state it was claimed from
    claimed_at INTEGER NOT NULL,
    PRIMARY KEY (worker_id, n)
) STRICT, WITHOUT ROWID;

-- Every try and every reply ever received; append-only.
CREATE TABLE attempt (
    message_id  INTEGER NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    n           INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    relay       TEXT,
    phase       TEXT,
    code        INTEGER,
    enhanced    TEXT,
    text        TEXT NOT NULL,
    category    TEXT,
    tls         TEXT,
    note        TEXT NOT NULL,
    worker_id   INTEGER NOT NULL,
    claim       INTEGER NOT NULL,
    PRIMARY KEY (message_id, n)
) STRICT, WITHOUT ROWID;

-- What a worker says of a relay: its breaker and its connections. A row a (worker, relay).
CREATE TABLE relay_state (
    worker_id    INTEGER NOT NULL REFERENCES worker (id) ON DELETE CASCADE,
    relay        TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('ready', 'paused', 'stopped')),
    reason       TEXT NOT NULL,
    paused_until INTEGER,
    connections  INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (worker_id, relay)
) STRICT, WITHOUT ROWID;

-- What one relay may still send under `rate`: the instant at which the next message is allowed (GCRA), shared by all
-- workers because it moves in the transaction that claims.
CREATE TABLE relay_pace (
    relay      TEXT PRIMARY KEY,
    next_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Outcomes by campaign in buckets of 10 s, for the rate on the screen; old ones are removed.
CREATE TABLE campaign_traffic (
    at          INTEGER NOT NULL,
    campaign_id INTEGER NOT NULL,
    ended       INTEGER NOT NULL,
    PRIMARY KEY (at, campaign_id)
) STRICT, WITHOUT ROWID;

-- Messages by relay in buckets of a minute, for the rate on the screen and the daily limit; kept for 25 hours.
CREATE TABLE relay_traffic (
    relay   TEXT NOT NULL,
    at      INTEGER NOT NULL,
    claimed INTEGER NOT NULL,                     -- handed out and not given back
    sent    INTEGER NOT NULL,                     -- accepted
    PRIMARY KEY (relay, at)
) STRICT, WITHOUT ROWID;
