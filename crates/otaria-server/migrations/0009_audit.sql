-- Who changed what, each entry chained to the one before by its hash (src/audit.rs).
CREATE TABLE audit (
    n INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    by_kind TEXT NOT NULL,
    by_user TEXT,
    by_token TEXT,
    from_address TEXT,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
);
-- The two ends of the chain: 'head' is the newest entry, 'checkpoint' the last one that was removed for its age.
CREATE TABLE audit_ends (
    name TEXT PRIMARY KEY,
    n INTEGER NOT NULL,
    hash TEXT NOT NULL
);
