-- Schema 7: the indicators' results.

CREATE TABLE indicator_month (
    id SERIAL NOT NULL,
    finess TEXT NOT NULL,
    month TEXT NOT NULL,
    revision INTEGER NOT NULL,
    computed_at DOUBLE PRECISION NOT NULL,
    cutoff TEXT NOT NULL,
    rule_version TEXT NOT NULL,
    catalogue_version TEXT NOT NULL,
    facts INTEGER NOT NULL,
    seen TEXT NOT NULL,
    last_fact INTEGER NOT NULL,
    digest TEXT NOT NULL,
    content BYTEA NOT NULL,
    changes TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX indicator_month_revision ON indicator_month (finess, month, revision);
CREATE TABLE indicator_check (
    month TEXT NOT NULL,
    seen TEXT NOT NULL,
    last_fact INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (month)
);
