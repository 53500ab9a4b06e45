-- Operations: what clients poll, and per item and asset what became of it. Times are µs since 1970.
CREATE TABLE operations(
  pk INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  collection_id TEXT,
  status TEXT NOT NULL,
  created INTEGER NOT NULL,
  started INTEGER,
  finished INTEGER,
  total INTEGER,                       -- items; NULL where the operation carries none
  succeeded INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  canceled INTEGER NOT NULL DEFAULT 0,
  accepted INTEGER NOT NULL DEFAULT 1, -- 0 while a large body is still being written down
  history TEXT NOT NULL,               -- JSON array of {status, timestamp, errorCode?, errorMessage?}
  error_code TEXT,
  error_message TEXT
);
CREATE INDEX operations_status ON operations(status, pk);
CREATE INDEX operations_collection ON operations(collection_id, pk);

CREATE TABLE operation_items(
  operation INTEGER NOT NULL REFERENCES operations(pk) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  item_id TEXT,
  state TEXT NOT NULL,                 -- pending, running, succeeded, failed, canceled
  code TEXT,
  message TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0,
  started INTEGER,
  finished INTEGER,
  PRIMARY KEY(operation, seq)
) WITHOUT ROWID;

CREATE TABLE operation_assets(
  operation INTEGER NOT NULL REFERENCES operations(pk) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  asset_key TEXT NOT NULL,
  source TEXT,                         -- the href without its query
  outcome TEXT NOT NULL,               -- converted, copied, untouched, failed
  code TEXT,
  message TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  bytes_in INTEGER,
  bytes_out INTEGER,
  sha256 TEXT,
  media_type TEXT,
  container TEXT,
  key TEXT,
  milliseconds INTEGER,
  PRIMARY KEY(operation, seq, asset_key)
) WITHOUT ROWID;

-- Submitted documents, sealed, until their item ends.
CREATE TABLE submissions(
  operation INTEGER NOT NULL REFERENCES operations(pk) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY(operation, seq)
);
