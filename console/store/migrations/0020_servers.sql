CREATE TABLE servers (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    added_at TEXT NOT NULL
);
CREATE TABLE host_keys (
    server TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    source TEXT NOT NULL,
    trusted_at TEXT NOT NULL,
    PRIMARY KEY (server, key)
);
CREATE TABLE inventories (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    taken_at TEXT NOT NULL,
    reached INTEGER NOT NULL,
    error TEXT,
    evidence TEXT NOT NULL
);
CREATE INDEX inventories_by_server ON inventories (server, id);
