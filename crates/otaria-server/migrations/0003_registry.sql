-- What operators say of devices, groups that follow from a query, and histories.

ALTER TABLE devices ADD COLUMN note TEXT NOT NULL DEFAULT '';

CREATE TABLE device_tags (
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    value     TEXT NOT NULL,           -- empty: the tag has no value
    PRIMARY KEY (device_id, name)
);

-- A group whose devices are those that match, besides those that were put into it.
CREATE TABLE group_queries (
    name  TEXT PRIMARY KEY,
    query TEXT NOT NULL
);

-- What happened to a job on a device, step by step.
CREATE TABLE update_steps (
    job_id    TEXT NOT NULL,
    device_id TEXT NOT NULL,
    n         BIGINT NOT NULL,         -- rises within the job and the device
    at        BIGINT NOT NULL,
    status    TEXT NOT NULL,
    event     TEXT,                    -- null: not by a device's event
    code      BIGINT,
    text      TEXT,
    PRIMARY KEY (job_id, device_id, n),
    FOREIGN KEY (job_id, device_id) REFERENCES assignments (job_id, device_id) ON DELETE CASCADE
);

-- What devices reported of themselves over time; a bounded number for each.
CREATE TABLE device_samples (
    device_id TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    at        BIGINT NOT NULL,
    boot      BIGINT NOT NULL,
    reset     TEXT NOT NULL,
    version   TEXT NOT NULL,
    heap_free BIGINT NOT NULL,
    heap_min  BIGINT NOT NULL,
    rssi      BIGINT,
    PRIMARY KEY (device_id, at)
);
