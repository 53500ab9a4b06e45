-- What is told of items that came in all the same, and what stored rasters are.
ALTER TABLE operation_items ADD COLUMN warnings TEXT;   -- JSON list of {path, rule, message}
ALTER TABLE operation_assets ADD COLUMN facts TEXT;     -- JSON object of a raster's facts, of use until its item ends
