-- Every version of the trust root that this site has followed, as it was signed.
CREATE TABLE trust_roots (
    version INTEGER PRIMARY KEY,
    envelope BLOB NOT NULL,
    digest TEXT NOT NULL,
    installed_at TEXT NOT NULL,
    installed_by TEXT NOT NULL
) STRICT;
