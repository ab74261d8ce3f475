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
