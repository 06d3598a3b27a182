-- How many keys a package is encrypted to; 0: it is not encrypted.
ALTER TABLE packages ADD COLUMN recipients BIGINT NOT NULL DEFAULT 0;
