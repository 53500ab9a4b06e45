-- Bulk ingestion: definitions, their runs, and what a run still has to walk. Times are µs since 1970.
ALTER TABLE operations ADD COLUMN open INTEGER NOT NULL DEFAULT 0;     -- 1 while items are still being found for it
ALTER TABLE operations ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;  -- among succeeded: was there already
ALTER TABLE operations ADD COLUMN information TEXT;                    -- JSON object of texts, for additionalInformation
ALTER TABLE operation_items ADD COLUMN retriable INTEGER;              -- of a failure: may it pass?
ALTER TABLE operation_items ADD COLUMN source TEXT;                    -- where its document came from, without the query
ALTER TABLE operation_assets ADD COLUMN retriable INTEGER;
CREATE INDEX operation_items_state ON operation_items(operation, state, seq);
CREATE INDEX operation_items_item ON operation_items(operation, item_id) WHERE item_id IS NOT NULL;

CREATE TABLE ingestions(
  pk INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  collection_id TEXT NOT NULL,
  import_type TEXT NOT NULL,           -- StaticCatalog or StacGeoparquet
  display_name TEXT,
  url TEXT NOT NULL,                   -- without the query, as it is shown
  source BLOB NOT NULL,                -- the whole URL, sealed: its query may be a signature
  skip_existing INTEGER NOT NULL,
  keep_originals INTEGER NOT NULL,
  created INTEGER NOT NULL
);
CREATE INDEX ingestions_collection ON ingestions(collection_id, pk);

CREATE TABLE ingestion_runs(
  operation INTEGER NOT NULL PRIMARY KEY REFERENCES operations(pk) ON DELETE CASCADE,
  ingestion INTEGER NOT NULL REFERENCES ingestions(pk) ON DELETE CASCADE,
  parent TEXT,                         -- id of the run whose failed items this one takes again
  import_type TEXT NOT NULL,           -- this and the next four: frozen when the run was made
  url TEXT NOT NULL,
  source BLOB NOT NULL,
  skip_existing INTEGER NOT NULL,
  keep_originals INTEGER NOT NULL,
  dry INTEGER NOT NULL,                -- 1: nothing is fetched but documents, nothing is published
  turn INTEGER NOT NULL DEFAULT 0,     -- of the walk: a job with another turn is an old one
  position INTEGER NOT NULL DEFAULT 0, -- rows of the table, or items of the parent, that were gone over
  added INTEGER NOT NULL DEFAULT 0,    -- items found so far: the next one's number
  handed INTEGER NOT NULL DEFAULT 0    -- items below this number belong to chunks
);
CREATE INDEX ingestion_runs_ingestion ON ingestion_runs(ingestion, operation);

-- What the walk of a run has met: a link is followed once. Removed when the walk ends.
CREATE TABLE run_links(
  operation INTEGER NOT NULL REFERENCES operations(pk) ON DELETE CASCADE,
  hash BLOB NOT NULL,                  -- of the URL
  depth INTEGER NOT NULL,              -- of a document below the first one; of an item 0
  sealed BLOB,                         -- the URL of a Catalog or Collection that waits to be read
  PRIMARY KEY(operation, hash)
) WITHOUT ROWID;
CREATE INDEX run_links_waiting ON run_links(operation, depth) WHERE sealed IS NOT NULL;

-- Items of a run that a job has in hand, first to last; a lane has one at a time.
CREATE TABLE run_chunks(
  operation INTEGER NOT NULL REFERENCES operations(pk) ON DELETE CASCADE,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  lane INTEGER NOT NULL,
  turn INTEGER NOT NULL,
  PRIMARY KEY(operation, first)
) WITHOUT ROWID;
