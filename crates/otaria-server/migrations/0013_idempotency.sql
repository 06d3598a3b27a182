-- What was answered to requests with an Idempotency-Key.
CREATE TABLE idempotency (
    caller     TEXT NOT NULL,
    key        TEXT NOT NULL,
    -- SHA-256 of the request.
    request    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Null: it was not answered yet.
    status     BIGINT,
    kind       TEXT,
    body       BLOB,
    PRIMARY KEY (caller, key)
);
