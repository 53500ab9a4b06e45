-- Durable jobs. Names and meanings are procrastinate's (its schema on PostgreSQL), so that both engines read alike;
-- times are microseconds since 1970 UTC. Ours beside them: failures, losses and changed_at.

-- AUTOINCREMENT in both tables: an id that came back would make an old lease look like a new one.
CREATE TABLE procrastinate_workers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    last_heartbeat INTEGER NOT NULL
);

CREATE TABLE procrastinate_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_name TEXT NOT NULL,
    task_name TEXT NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    lock TEXT,
    queueing_lock TEXT,
    args TEXT NOT NULL DEFAULT '{}',
    status TEXT NOT NULL DEFAULT 'todo'
        CHECK (status IN ('todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborting', 'aborted')),
    scheduled_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,           -- how often it was handed back; with worker_id the fence token
    failures INTEGER NOT NULL DEFAULT 0,           -- how often its task raised
    losses INTEGER NOT NULL DEFAULT 0,             -- how often its worker was lost
    abort_requested INTEGER NOT NULL DEFAULT 0,
    worker_id INTEGER REFERENCES procrastinate_workers (id) ON DELETE SET NULL,
    changed_at INTEGER NOT NULL,                   -- of the status; stands in for procrastinate's table of events
    CHECK (NOT (status = 'todo' AND abort_requested = 1))
);

-- At most one waiting job per queueing lock, at most one running job per lock.
CREATE UNIQUE INDEX procrastinate_jobs_queueing_lock_idx_v1 ON procrastinate_jobs (queueing_lock)
    WHERE status = 'todo' AND queueing_lock IS NOT NULL;
CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON procrastinate_jobs (lock)
    WHERE status = 'doing' AND lock IS NOT NULL;
-- The claim: the first waiting job, and whether its lock is free.
CREATE INDEX procrastinate_jobs_priority_idx_v1 ON procrastinate_jobs (priority DESC, id) WHERE status = 'todo';
CREATE INDEX procrastinate_jobs_waiting_lock_idx_v1 ON procrastinate_jobs (lock, priority DESC, id)
    WHERE status = 'todo' AND lock IS NOT NULL;
-- The rescue: who runs what.
CREATE INDEX procrastinate_jobs_worker_idx_v1 ON procrastinate_jobs (worker_id) WHERE status = 'doing';
-- The child side of ON DELETE SET NULL: without it a worker's end would scan every job.
CREATE INDEX procrastinate_jobs_worker_fkey_v1 ON procrastinate_jobs (worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE procrastinate_periodic_defers (
    id INTEGER PRIMARY KEY,
    task_name TEXT NOT NULL,
    periodic_id TEXT NOT NULL DEFAULT '',
    defer_timestamp INTEGER NOT NULL,              -- seconds, as procrastinate names its ticks
    job_id INTEGER REFERENCES procrastinate_jobs (id) ON DELETE SET NULL,
    UNIQUE (task_name, periodic_id, defer_timestamp)
);
CREATE INDEX procrastinate_periodic_defers_job_id_fkey_v1 ON procrastinate_periodic_defers (job_id);
