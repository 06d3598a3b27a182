-- Who is told what happens, and what they have not been told yet.
CREATE TABLE webhooks (
    id         TEXT PRIMARY KEY NOT NULL,
    url        TEXT NOT NULL,
    -- JSON, a list of names.
    events     TEXT NOT NULL,
    -- Base64. Messages are signed with it, so it cannot be a hash.
    secret     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE webhook_deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook    TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    -- The same at every try, so that a receiver recognises a repeat.
    message    TEXT NOT NULL,
    event      TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    tries      BIGINT NOT NULL,
    -- waiting, delivered, given_up
    state      TEXT NOT NULL,
    -- When it is tried next, while it waits.
    next_at    BIGINT,
    -- Why the last try failed.
    reason     TEXT
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook, next_at);
