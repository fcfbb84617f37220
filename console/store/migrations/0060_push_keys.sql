-- Servers on which a push that hands on from server to server may have left a key, or a line that lets one in.
CREATE TABLE push_keys (
    server TEXT PRIMARY KEY,
    noted_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
