-- Plans, deployments, their servers, and the journal of steps by which a deployment goes on or is taken back.
CREATE TABLE plans (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    state TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    plan_id TEXT NOT NULL UNIQUE REFERENCES plans(id),
    name TEXT NOT NULL,
    playbook TEXT NOT NULL,
    release_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

CREATE TABLE deployment_servers (
    deployment_id TEXT NOT NULL REFERENCES deployments(id),
    server TEXT NOT NULL,
    state TEXT NOT NULL,
    port INTEGER,
    previous TEXT,
    error TEXT,
    smoke TEXT,
    expect TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (deployment_id, server)
) STRICT;

CREATE TABLE deployment_steps (
    deployment_id TEXT NOT NULL,
    server TEXT NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    before TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (deployment_id, server, position),
    FOREIGN KEY (deployment_id, server) REFERENCES deployment_servers(deployment_id, server)
) STRICT;
