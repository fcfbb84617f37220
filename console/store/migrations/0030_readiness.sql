CREATE TABLE readiness (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    judged_at TEXT NOT NULL,
    asked TEXT NOT NULL,
    results TEXT NOT NULL
) STRICT;
CREATE INDEX readiness_by_server ON readiness (server, id);
