-- Every release that this site ever imported, also after its removal: only such a one may be installed again when it is
-- older than the newest of its channel.
CREATE TABLE imported_releases (
    release_id TEXT PRIMARY KEY,
    channel TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    imported_at TEXT NOT NULL
) STRICT;
INSERT INTO imported_releases SELECT release_id, channel, highest_sequence, '' FROM channels;
