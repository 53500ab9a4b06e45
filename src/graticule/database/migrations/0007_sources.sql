-- Registered ingestion sources: containers that assets may be read from, and how. Times are µs since 1970.
CREATE TABLE ingestion_sources(
  pk INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,                  -- SasToken, BlobManagedIdentity
  origin TEXT NOT NULL,                -- scheme, host and port, always all three
  container_url TEXT NOT NULL,         -- without trailing slash and query
  sealed BLOB,                         -- the token
  object_id TEXT,                      -- of the managed identity
  expires BIGINT,                      -- of the token, where it says so
  warning TEXT,                        -- what the connection test found when the source was last written
  created BIGINT NOT NULL
);
CREATE UNIQUE INDEX ingestion_sources_id ON ingestion_sources(id);
CREATE UNIQUE INDEX ingestion_sources_container ON ingestion_sources(container_url);
CREATE INDEX ingestion_sources_origin ON ingestion_sources(origin);
