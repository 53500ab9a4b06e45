-- Secrets of the catalog itself, sealed and in base64: the issuer's signing key, the managed-identity header.
CREATE TABLE access_secrets (
  name       TEXT PRIMARY KEY,
  sealed     TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

-- What identity and signed access must remember beside them: the catalog's id, the generation of signed URLs.
CREATE TABLE access_state (
  name       TEXT PRIMARY KEY,
  value      TEXT NOT NULL,
  changed_at BIGINT NOT NULL
);
