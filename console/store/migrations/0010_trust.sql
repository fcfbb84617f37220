CREATE TABLE trusted_keys (
    keyid TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    spki TEXT NOT NULL,
    added_at TEXT NOT NULL,
    added_by TEXT NOT NULL,
    revoked_at TEXT,
    reason TEXT
) STRICT;
-- What was imported, so that an older release is not taken for a newer one.
CREATE TABLE channels (
    channel TEXT PRIMARY KEY,
    highest_sequence INTEGER NOT NULL,
    release_id TEXT NOT NULL,
    min_sequence INTEGER NOT NULL,
    time_floor TEXT NOT NULL
) STRICT;
CREATE TABLE revoked_releases (
    release_id TEXT PRIMARY KEY,
    named_in TEXT NOT NULL
) STRICT;
CREATE TABLE releases (
    release_id TEXT PRIMARY KEY,
    bundle_id TEXT NOT NULL,
    title TEXT NOT NULL,
    imported_at TEXT NOT NULL,
    imported_by TEXT NOT NULL,
    signers TEXT NOT NULL,
    receipt TEXT NOT NULL
) STRICT;
CREATE TABLE library_files (
    sha256 TEXT NOT NULL,
    release_id TEXT NOT NULL REFERENCES releases (release_id) ON DELETE CASCADE,
    PRIMARY KEY (sha256, release_id)
) STRICT;
