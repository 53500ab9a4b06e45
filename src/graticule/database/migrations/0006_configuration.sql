-- How a collection is shown and searched. Documents are kept as the JSON that clients get back.

-- Render options, mosaics and queryables; pk is the order in which they were added.
CREATE TABLE configuration_entries(
  pk INTEGER PRIMARY KEY,
  collection_id TEXT NOT NULL,
  kind TEXT NOT NULL,                  -- render-option, mosaic, queryable
  id TEXT NOT NULL,                    -- of a queryable: its name
  doc BLOB NOT NULL
);
CREATE UNIQUE INDEX configuration_entries_id ON configuration_entries(collection_id, kind, id);
CREATE INDEX configuration_entries_order ON configuration_entries(collection_id, kind, pk);

-- What a collection has one of; no row: the default.
CREATE TABLE configuration_settings(
  collection_id TEXT NOT NULL,
  name TEXT NOT NULL,                  -- tile-settings, partition-type
  doc BLOB NOT NULL,
  PRIMARY KEY(collection_id, name)
);
