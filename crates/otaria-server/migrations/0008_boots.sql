-- In which boot a device reported what it runs, and in which one it was seen to have confirmed an update: only a later
-- boot can run something else.
ALTER TABLE devices ADD COLUMN boot INTEGER;
ALTER TABLE assignments ADD COLUMN confirmed_boot INTEGER;
