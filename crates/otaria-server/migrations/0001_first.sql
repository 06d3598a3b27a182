-- Times are unix seconds; digests and other hashes lower-case hexadecimal; JSON is text.
-- Kept to what SQLite and PostgreSQL share, save for the generated keys.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE devices (
    id           TEXT PRIMARY KEY,
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT,              -- null: only named by an operator so far
    online       BOOLEAN NOT NULL DEFAULT FALSE,
    state        TEXT,                -- the newest `state` message
    product      TEXT,                -- of that state, for choosing targets
    chip         TEXT,
    image_sha256 TEXT,
    on_trial     BOOLEAN NOT NULL DEFAULT FALSE,
    progress     TEXT,                -- the newest `progress` message
    install      TEXT,                -- the installation that reports now
    wish         TEXT,                -- payload of the retained `desired`; null: none
    wish_at      BIGINT,
    wish_is_ours BOOLEAN NOT NULL DEFAULT FALSE,   -- declared by this server, not by somebody else
    job          TEXT                 -- the newest job that includes this device
);

CREATE TABLE device_groups (
    group_name TEXT NOT NULL,
    device_id  TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    PRIMARY KEY (group_name, device_id)
);
CREATE INDEX device_groups_of_device ON device_groups (device_id);

-- The newest (boot, n) applied of each installation of a device.
CREATE TABLE installs (
    device_id  TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    install    TEXT NOT NULL,
    boot       BIGINT NOT NULL,
    n          BIGINT NOT NULL,
    first_seen BIGINT NOT NULL,
    PRIMARY KEY (device_id, install)
);

CREATE TABLE packages (
    digest           TEXT PRIMARY KEY,   -- SHA-256 of the file
    size             BIGINT NOT NULL,
    identity         TEXT NOT NULL,
    image_sha256     TEXT NOT NULL,
    image_len        BIGINT NOT NULL,
    product          TEXT NOT NULL,
    version          TEXT NOT NULL,
    chip             TEXT NOT NULL,
    sequence         BIGINT NOT NULL,
    security_version BIGINT NOT NULL,
    key_id           TEXT NOT NULL,
    created          BIGINT NOT NULL,    -- by the packager
    uploaded_at      BIGINT NOT NULL
);

CREATE TABLE jobs (
    id         TEXT PRIMARY KEY,
    package    TEXT NOT NULL REFERENCES packages (digest),
    url        TEXT NOT NULL,
    target     TEXT NOT NULL,
    not_before BIGINT,
    deadline   BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX jobs_by_age ON jobs (created_at, id);

CREATE TABLE assignments (
    job_id     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    device_id  TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    status     TEXT NOT NULL,
    event      TEXT,                -- the newest event applied
    code       BIGINT,
    text       TEXT,
    retry_at   BIGINT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, device_id)
);
CREATE INDEX assignments_of_device ON assignments (device_id);

CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,   -- PostgreSQL: BIGINT GENERATED ALWAYS AS IDENTITY
    device_id   TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    install     TEXT NOT NULL,
    boot        BIGINT NOT NULL,
    n           BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    event       TEXT NOT NULL,         -- the message
    UNIQUE (device_id, install, boot, n)
);

CREATE TABLE logs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id   TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    install     TEXT NOT NULL,
    boot        BIGINT NOT NULL,
    n           BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    line        TEXT NOT NULL,         -- the message
    UNIQUE (device_id, install, boot, n)
);

-- What has been decided but not yet taken by the broker. Written in the transaction of the decision.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    topic      TEXT NOT NULL,
    payload    BLOB NOT NULL,
    retain     BOOLEAN NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL
);
