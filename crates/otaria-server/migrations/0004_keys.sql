-- The newest key record of each product. The server cannot sign one, and does not know the root keys.
CREATE TABLE key_epochs (
    product     TEXT PRIMARY KEY,
    epoch       BIGINT NOT NULL,
    record      BLOB NOT NULL,
    uploaded_at BIGINT NOT NULL
);

-- The epoch that a device reports, and the record that it was sent last ("EPOCH PRODUCT").
ALTER TABLE devices ADD COLUMN keys_epoch BIGINT;
ALTER TABLE devices ADD COLUMN keys_told TEXT;
