-- Collections whose items may have been written before there were words (0010), or before texts of indexed queryables
-- were among them: a job goes over all their items once.
CREATE TABLE word_backfills(
  coll INTEGER NOT NULL PRIMARY KEY,
  begun INT NOT NULL DEFAULT 0,     -- it has a job
  reached_t INTEGER,                -- items from here on, newest first, are still to be read
  reached_id TEXT,
  read INTEGER NOT NULL DEFAULT 0   -- and so many were
);
INSERT INTO word_backfills(coll) SELECT coll FROM collstat;
