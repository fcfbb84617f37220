-- What was under way, so that the next start can say what was cut off and how to go on.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    servers TEXT NOT NULL,
    params TEXT NOT NULL,
    state TEXT NOT NULL,
    actor TEXT NOT NULL,
    submitted_at TEXT NOT NULL,
    ended_at TEXT,
    error TEXT,
    dismissed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state);
