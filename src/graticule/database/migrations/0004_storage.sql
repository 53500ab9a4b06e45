-- The record of every managed byte. A row is committed before its bytes are written and goes after they are gone, so
-- whatever lies in storage has a row, at every moment.

CREATE TABLE containers (
    container     TEXT PRIMARY KEY,
    collection_id TEXT NOT NULL,
    created       BIGINT NOT NULL,  -- microseconds since 1970
    dropped       BIGINT            -- when its collection was deleted: its blobs are dead from then on
);
CREATE UNIQUE INDEX containers_in_use ON containers (collection_id) WHERE dropped IS NULL;

CREATE TABLE blobs (
    container     TEXT NOT NULL,
    key           TEXT NOT NULL,
    collection_id TEXT NOT NULL,
    item_id       TEXT,             -- null: an asset of the collection itself
    operation_id  TEXT NOT NULL,    -- who wrote it
    asset_key     TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('staged', 'live', 'dead')),
    was_live      INTEGER NOT NULL DEFAULT 0,  -- 0: buried while its writer may have been at work
    swept         BIGINT,           -- when the bytes of a dead blob were removed for the first time
    size          BIGINT,           -- null until the bytes are stored
    sha256        TEXT,
    media_type    TEXT,
    etag          TEXT,
    created       BIGINT NOT NULL,
    updated       BIGINT NOT NULL,
    PRIMARY KEY (container, key)
);
CREATE INDEX blobs_of_item ON blobs (collection_id, item_id);
CREATE INDEX blobs_of_operation ON blobs (operation_id, item_id);
CREATE INDEX blobs_dead ON blobs (updated) WHERE state = 'dead';
