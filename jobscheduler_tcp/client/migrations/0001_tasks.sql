-- What becomes of each task. Times are seconds since 1970 by the client's wall
-- clock, those with "remote" in their names by the remote's; "seconds" is by its
-- monotonic clock. A task without a reason is not over.
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    job TEXT NOT NULL,
    process_class TEXT NOT NULL,
    name TEXT NOT NULL,
    cause TEXT NOT NULL,
    order_chain TEXT NOT NULL,
    order_id TEXT NOT NULL,
    parameters TEXT NOT NULL,
    enqueued REAL NOT NULL,
    start_at REAL NOT NULL,
    uuid TEXT NOT NULL DEFAULT '',
    began REAL,
    ended REAL,
    remote_began REAL,
    remote_ended REAL,
    seconds REAL,
    reason TEXT,
    text TEXT NOT NULL DEFAULT '',
    exit_code INTEGER,
    signal INTEGER,
    errno INTEGER NOT NULL DEFAULT 0,
    pid INTEGER NOT NULL DEFAULT 0,
    user_seconds REAL NOT NULL DEFAULT 0,
    system_seconds REAL NOT NULL DEFAULT 0,
    max_resident INTEGER NOT NULL DEFAULT 0,
    stdout_size INTEGER NOT NULL DEFAULT 0,
    stderr_size INTEGER NOT NULL DEFAULT 0,
    stdout_sha256 TEXT NOT NULL DEFAULT '',
    stderr_sha256 TEXT NOT NULL DEFAULT ''
);
CREATE INDEX tasks_of_job ON tasks (job, id);
CREATE INDEX tasks_under_way ON tasks (id) WHERE reason IS NULL;

-- The first number that was never reserved.
CREATE TABLE numbers (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
);
INSERT INTO numbers VALUES ('task', 1);
