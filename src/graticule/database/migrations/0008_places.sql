-- Where a worker runs: one host and data folder. Who proves that all workers of a place are dead frees their jobs at once.
ALTER TABLE procrastinate_workers ADD COLUMN place TEXT;
