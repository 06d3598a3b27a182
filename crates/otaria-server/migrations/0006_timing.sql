-- Where the time of an update went: JSON of the newest event that said so.
ALTER TABLE assignments ADD COLUMN timing TEXT;
