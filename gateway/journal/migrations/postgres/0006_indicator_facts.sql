-- Schema 6: the facts of the indicators, the secret of patients' keys, what facts say of a document.

CREATE TABLE indicator_fact (
    id SERIAL NOT NULL,
    fact_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    fact TEXT NOT NULL,
    finess TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    known_at DOUBLE PRECISION NOT NULL,
    source TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (fact_id)
);
CREATE TABLE indicator_secret (
    id SERIAL NOT NULL,
    secret BYTEA NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (id)
);
ALTER TABLE document ADD COLUMN about TEXT DEFAULT '{}' NOT NULL;
