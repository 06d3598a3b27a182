-- Rollouts: all that they are made of, so that nothing is lost with the process.

CREATE TABLE rollouts (
    id             TEXT PRIMARY KEY,
    package        TEXT NOT NULL REFERENCES packages (digest),
    spec           TEXT NOT NULL,
    state          TEXT NOT NULL,
    reason         TEXT,              -- why it halted
    wave           BIGINT NOT NULL,   -- under way, from 0
    waves          BIGINT NOT NULL,
    gate_since     BIGINT,
    approved       BOOLEAN NOT NULL,
    waived         BOOLEAN NOT NULL,
    paced_until_ms BIGINT NOT NULL,
    baseline       DOUBLE PRECISION NOT NULL,
    counted_from   BIGINT NOT NULL,   -- outcomes up to this one are no reason to halt
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE INDEX rollouts_by_age ON rollouts (created_at, id);

CREATE TABLE rollout_devices (
    rollout_id  TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    device_id   TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    n           BIGINT NOT NULL,      -- its place in the order
    wave        BIGINT NOT NULL,
    stratum     TEXT NOT NULL,
    stage       TEXT NOT NULL,
    since       BIGINT NOT NULL,
    awake_since BIGINT,
    offers      BIGINT NOT NULL,      -- the job of the newest is ID.OFFERS
    failures    BIGINT NOT NULL,
    not_before  BIGINT NOT NULL,
    why         TEXT,
    PRIMARY KEY (rollout_id, device_id)
);
CREATE INDEX rollout_devices_of_device ON rollout_devices (device_id);

-- Each try that has ended, in the order in which the server heard of it.
CREATE TABLE rollout_outcomes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,   -- PostgreSQL: BIGINT GENERATED ALWAYS AS IDENTITY
    rollout_id TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    device_id  TEXT NOT NULL,
    at         BIGINT NOT NULL,
    stratum    TEXT NOT NULL,
    failed     TEXT                   -- why; null: confirmed
);
CREATE INDEX rollout_outcomes_of_rollout ON rollout_outcomes (rollout_id, id);
