-- Who may use the server, and which devices may not. Passwords are argon2 hashes; of tokens and sessions, which have 256
-- random bits, the SHA-256 is kept.

CREATE TABLE users (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    password   TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,
    user_name  TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_name);

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    user_name    TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL,
    scopes       TEXT NOT NULL,      -- JSON
    by_login     BOOLEAN NOT NULL,   -- ends with the password by which it was had
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX tokens_of_user ON tokens (user_name);

-- Certificates that this server has issued. They outlive what is known of their device: a device that is forgotten
-- stays revoked.
CREATE TABLE certificates (
    serial     TEXT PRIMARY KEY,
    device_id  TEXT NOT NULL,
    issued_at  BIGINT NOT NULL,
    not_after  BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX certificates_of_device ON certificates (device_id);

-- Devices that are cut off whatever certificate they show, until they are added again.
CREATE TABLE shut_out (
    device_id TEXT PRIMARY KEY,
    since     BIGINT NOT NULL
);
