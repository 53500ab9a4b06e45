-- Kinds of sources beyond the original's: what is shown of them besides.
ALTER TABLE ingestion_sources ADD COLUMN details TEXT;  -- JSON object; never a secret
