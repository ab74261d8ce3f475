-- Schema 6: the facts of the indicators, the secret of patients' keys, what facts say of a document.

CREATE TABLE indicator_fact (
    id INTEGER NOT NULL,
    fact_id VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    fact VARCHAR NOT NULL,
    finess VARCHAR NOT NULL,
    at FLOAT NOT NULL,
    known_at FLOAT NOT NULL,
    source VARCHAR NOT NULL,
    body VARCHAR NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (fact_id)
);
CREATE TABLE indicator_secret (
    id INTEGER NOT NULL,
    secret BLOB NOT NULL,
    fingerprint VARCHAR NOT NULL,
    PRIMARY KEY (id)
);
ALTER TABLE document ADD COLUMN about VARCHAR DEFAULT '{}' NOT NULL;

-- A journal of schema 2 has no received documents yet.
CREATE TABLE IF NOT EXISTS received_document (
    id INTEGER NOT NULL,
    mail_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    uid VARCHAR NOT NULL,
    set_key VARCHAR NOT NULL,
    version INTEGER,
    replaces_uid VARCHAR,
    action VARCHAR NOT NULL,
    type_code VARCHAR NOT NULL,
    patient VARCHAR NOT NULL,
    confidentiality VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    delivery_id INTEGER NOT NULL,
    accepted_at FLOAT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(mail_id) REFERENCES received_mail (id),
    FOREIGN KEY(delivery_id) REFERENCES delivery (id)
);
CREATE INDEX IF NOT EXISTS ix_received_document_mail_id ON received_document (mail_id);
CREATE INDEX IF NOT EXISTS ix_received_document_uid ON received_document (uid);
CREATE INDEX IF NOT EXISTS received_document_by_set ON received_document (set_key, version);
ALTER TABLE received_document ADD COLUMN about VARCHAR DEFAULT '{}' NOT NULL;
