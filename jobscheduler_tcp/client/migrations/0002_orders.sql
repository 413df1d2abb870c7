-- What a client needs to go on after a restart. The address of the remote that
-- was, or was about to be, asked for a task under its uuid, and the secret by which
-- that is asked after it; and what a task that
-- waits for its turn was told beyond its parameters.
ALTER TABLE tasks ADD COLUMN remote TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN attach_key TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN environment TEXT NOT NULL DEFAULT '[]';

-- The orders that are in a job chain now. Times are seconds since 1970 by the
-- client's wall clock, 0 where there is none; "at" is NULL for never. "position"
-- is that in the queue of a job, and "task" the number of the task that works on
-- an order, which tells its uuid and remote. "asked" and "successor" are JSON.
CREATE TABLE orders (
    number INTEGER PRIMARY KEY,
    chain TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    initial_state TEXT NOT NULL,
    end_state TEXT NOT NULL,
    title TEXT NOT NULL,
    priority INTEGER NOT NULL,
    parameters TEXT NOT NULL,
    created REAL NOT NULL,
    at REAL,
    suspended INTEGER NOT NULL,
    set_back INTEGER NOT NULL,
    setbacks INTEGER NOT NULL,
    task INTEGER NOT NULL,
    in_process_since REAL NOT NULL,
    arrived REAL NOT NULL,
    began REAL NOT NULL,
    touched INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    text TEXT NOT NULL,
    removed INTEGER NOT NULL,
    position INTEGER NOT NULL,
    asked TEXT NOT NULL,
    successor TEXT
);

-- The orders that stand in files, as the files were when they were taken up.
CREATE TABLE standing_orders (
    chain TEXT NOT NULL,
    id TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (chain, id)
) WITHOUT ROWID;

-- What became of each order that was worked on, or removed. "cause" is "order"
-- for one that was added by a command, "file" for one that stands in a file.
CREATE TABLE order_history (
    id INTEGER PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    chain TEXT NOT NULL,
    order_id TEXT NOT NULL,
    title TEXT NOT NULL,
    cause TEXT NOT NULL,
    state TEXT NOT NULL,
    began REAL NOT NULL,
    ended REAL,
    removed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX order_history_of_chain ON order_history (chain, id);
CREATE INDEX order_history_of_order ON order_history (chain, order_id, id);

-- Each task that worked on an order, and how that came out: "succeeded",
-- "failed", "lost" or "undone".
CREATE TABLE order_steps (
    order_number INTEGER NOT NULL,
    task INTEGER NOT NULL,
    state TEXT NOT NULL,
    job TEXT NOT NULL,
    began REAL NOT NULL,
    ended REAL NOT NULL,
    verdict TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (order_number, task)
) WITHOUT ROWID;
