-- What one of the servers that share a database has for itself for a while. Times are the database's, so that clocks of servers need
-- not agree.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until  DOUBLE PRECISION NOT NULL   -- unix seconds
);
