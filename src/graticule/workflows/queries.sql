-- File format: a name between dashes, lines that explain, one query. Names are procrastinate's where it has one.
-- Braces hold what SQLite and PostgreSQL spell differently: statements.py.

-- claimable_job --
-- The next job that a worker of these queues and tasks may run: due, first by priority, its lock free and its turn.
-- A task that this version does not know stays waiting for one that does.
SELECT job.id
  FROM procrastinate_jobs AS job
 WHERE job.status = 'todo'
   AND (job.scheduled_at IS NULL OR job.scheduled_at <= :now)
   AND job.task_name {in:tasks}
   AND (CAST(:queues AS TEXT) IS NULL OR job.queue_name {in:queues})
   AND (job.lock IS NULL
        OR NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS running
                        WHERE running.status = 'doing' AND running.lock = job.lock)
       AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs AS earlier
                        WHERE earlier.status = 'todo' AND earlier.lock = job.lock
                          AND (earlier.priority > job.priority
                               OR earlier.priority = job.priority AND earlier.id < job.id)))
 ORDER BY job.priority DESC, job.id
 LIMIT 1

-- fetch_job --
-- Claim it.
UPDATE procrastinate_jobs
   SET status = 'doing', worker_id = :worker_id, changed_at = :now
 WHERE id = ({claimable_job})
RETURNING *

-- defer_jobs --
-- Insert a batch in one statement: it is there whole or not at all.
INSERT INTO procrastinate_jobs
       (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at, changed_at)
SELECT value ->> 0, value ->> 1, CAST(value ->> 2 AS BIGINT), value ->> 3, value ->> 4, value ->> 5,
       CAST(value ->> 6 AS BIGINT), CAST(:now AS BIGINT)
  FROM {rows:jobs}
 ORDER BY key
RETURNING id

-- finish_leased_delete --
-- The end of a job, if the lease still holds.
DELETE FROM procrastinate_jobs
 WHERE id = :job_id AND status = 'doing' AND worker_id = :worker_id AND attempts = :attempts

-- finish_leased_keep --
UPDATE procrastinate_jobs
   SET status = :status, abort_requested = 0, attempts = attempts + 1, changed_at = :now
 WHERE id = :job_id AND status = 'doing' AND worker_id = :worker_id AND attempts = :attempts

-- finish_delete --
-- The same from outside of a job, where there is no lease.
DELETE FROM procrastinate_jobs WHERE id = :job_id AND status IN ('todo', 'doing')

-- finish_keep --
UPDATE procrastinate_jobs
   SET status = :status, abort_requested = 0, changed_at = :now,
       attempts = CASE status WHEN 'doing' THEN attempts + 1 ELSE attempts END
 WHERE id = :job_id AND status IN ('todo', 'doing')

-- retry_job --
-- Make a job wait again, if it is as we saw it. Its queueing lock is dropped when another job waits under it by now:
-- both must run. A request to abort is dropped too: the task finds in its own rows that nothing is left to do.
UPDATE procrastinate_jobs
   SET status = 'todo', worker_id = NULL, abort_requested = 0, attempts = attempts + 1,
       failures = failures + :failures, losses = losses + :losses, scheduled_at = :scheduled_at, changed_at = :now,
       priority = COALESCE(:priority, priority), queue_name = COALESCE(:queue_name, queue_name),
       lock = COALESCE(:lock, lock),
       queueing_lock = CASE WHEN EXISTS (SELECT 1 FROM procrastinate_jobs AS other
                                          WHERE other.status = 'todo'
                                            AND other.queueing_lock = procrastinate_jobs.queueing_lock)
                            THEN NULL ELSE queueing_lock END
 WHERE id = :job_id AND status = :status AND worker_id IS NOT DISTINCT FROM :worker_id AND attempts = :attempts

-- holds_lease --
SELECT 1 FROM procrastinate_jobs
 WHERE id = :job_id AND status = 'doing' AND worker_id = :worker_id AND attempts = :attempts

-- jobs_of_lost_workers --
-- What runs on workers without a heartbeat since :since, or on none.
SELECT job.id, job.worker_id, job.attempts, job.losses
  FROM procrastinate_jobs AS job
  LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
 WHERE job.status = 'doing' AND (worker.id IS NULL OR worker.last_heartbeat < :since)
 ORDER BY job.id

-- jobs_of_worker --
SELECT id, worker_id, attempts, losses FROM procrastinate_jobs
 WHERE status = 'doing' AND worker_id = :worker_id
 ORDER BY id

-- jobs_running --
SELECT id, worker_id, attempts, losses, args FROM procrastinate_jobs WHERE status = 'doing' ORDER BY id

-- jobs_of_place --
-- What runs on the workers of one place, and what each job carries.
SELECT job.id, job.worker_id, job.attempts, job.losses, job.args
  FROM procrastinate_jobs AS job
  JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
 WHERE job.status = 'doing' AND worker.place = :place
 ORDER BY job.id

-- forget_place --
DELETE FROM procrastinate_workers WHERE place = :place

-- prune_stalled_workers --
DELETE FROM procrastinate_workers WHERE last_heartbeat < :since RETURNING id AS worker_id

-- register_worker --
INSERT INTO procrastinate_workers (last_heartbeat, place) VALUES (:now, :place) RETURNING id AS worker_id

-- unregister_worker --
DELETE FROM procrastinate_workers WHERE id = :worker_id

-- update_heartbeat --
UPDATE procrastinate_workers SET last_heartbeat = :now WHERE id = :worker_id

-- select_stalled_jobs_by_started --
SELECT * FROM procrastinate_jobs
 WHERE status = 'doing' AND changed_at < :since
   AND (CAST(:queue AS TEXT) IS NULL OR queue_name = :queue)
   AND (CAST(:task_name AS TEXT) IS NULL OR task_name = :task_name)
 ORDER BY id

-- select_stalled_jobs_by_heartbeat --
SELECT job.*
  FROM procrastinate_jobs AS job
  LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
 WHERE job.status = 'doing' AND (worker.id IS NULL OR worker.last_heartbeat < :since)
   AND (CAST(:queue AS TEXT) IS NULL OR job.queue_name = :queue)
   AND (CAST(:task_name AS TEXT) IS NULL OR job.task_name = :task_name)
 ORDER BY job.id

-- delete_old_jobs --
DELETE FROM procrastinate_jobs
 WHERE status {in:statuses} AND changed_at < :since
   AND (CAST(:queue AS TEXT) IS NULL OR queue_name = :queue)

-- cancel_delete --
DELETE FROM procrastinate_jobs WHERE id = :job_id AND status = 'todo' RETURNING id

-- cancel_abort --
UPDATE procrastinate_jobs
   SET abort_requested = 1, changed_at = CASE status WHEN 'todo' THEN :now ELSE changed_at END,
       status = CASE status WHEN 'todo' THEN 'cancelled' ELSE status END
 WHERE id = :job_id AND status IN ('todo', 'doing')
RETURNING id

-- cancel_waiting --
UPDATE procrastinate_jobs SET status = 'cancelled', changed_at = :now WHERE id = :job_id AND status = 'todo' RETURNING id

-- get_job_status --
SELECT status FROM procrastinate_jobs WHERE id = :job_id

-- job_token --
SELECT status, worker_id, attempts FROM procrastinate_jobs WHERE id = :job_id

-- count_jobs_status --
SELECT count(*) AS count, status FROM procrastinate_jobs GROUP BY status

-- list_jobs --
SELECT * FROM procrastinate_jobs
 WHERE (CAST(:id AS BIGINT) IS NULL OR id = :id) AND (CAST(:queue_name AS TEXT) IS NULL OR queue_name = :queue_name)
   AND (CAST(:task_name AS TEXT) IS NULL OR task_name = :task_name)
   AND (CAST(:status AS TEXT) IS NULL OR status = :status)
   AND (CAST(:lock AS TEXT) IS NULL OR lock = :lock)
   AND (CAST(:queueing_lock AS TEXT) IS NULL OR queueing_lock = :queueing_lock)
   AND (CAST(:worker_id AS BIGINT) IS NULL OR worker_id = :worker_id)
 ORDER BY id

-- count_by --
-- Jobs per {column} and status.
SELECT {column} AS name, status, count(*) AS jobs_count
  FROM procrastinate_jobs
 WHERE {column} IS NOT NULL
   AND (CAST(:queue_name AS TEXT) IS NULL OR queue_name = :queue_name)
   AND (CAST(:task_name AS TEXT) IS NULL OR task_name = :task_name)
   AND (CAST(:status AS TEXT) IS NULL OR status = :status) AND (CAST(:lock AS TEXT) IS NULL OR lock = :lock)
 GROUP BY 1, 2
 ORDER BY 1, 2

-- list_jobs_to_abort --
SELECT id FROM procrastinate_jobs
 WHERE status = 'doing' AND abort_requested = 1 AND (CAST(:queue_name AS TEXT) IS NULL OR queue_name = :queue_name)
 ORDER BY id

-- check_connection --
SELECT {table} AS "check"

-- record_periodic --
INSERT INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp)
VALUES (:task_name, :periodic_id, :defer_timestamp)
ON CONFLICT DO NOTHING
RETURNING id

-- link_periodic --
UPDATE procrastinate_periodic_defers SET job_id = :job_id WHERE id = :id

-- forget_periodic --
DELETE FROM procrastinate_periodic_defers
 WHERE task_name = :task_name AND periodic_id = :periodic_id AND defer_timestamp < :defer_timestamp
