-- The version that a device reports, for counting: reading it out of `state` is slow, and not the same in every database.
ALTER TABLE devices ADD COLUMN version TEXT;
UPDATE devices SET version = state ->> 'version' WHERE state IS NOT NULL;
