-- Kinds of sources beyond the original's: what is shown of them besides.
ALTER TABLE ingestion_sources ADD COLUMN details TEXT;  -- JSON object; never a secret

-- Items of bulk runs whose source failed in passing, and chunks that hold nothing else.
ALTER TABLE operation_items ADD COLUMN retry_at BIGINT;  -- of a pending item: not before; µs since 1970
ALTER TABLE run_chunks ADD COLUMN parked INTEGER NOT NULL DEFAULT 0;  -- 1: its lane has gone on without it
