-- Schema 7: the indicators' results.

CREATE TABLE indicator_month (
    id INTEGER NOT NULL,
    finess VARCHAR NOT NULL,
    month VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    computed_at FLOAT NOT NULL,
    cutoff VARCHAR NOT NULL,
    rule_version VARCHAR NOT NULL,
    catalogue_version VARCHAR NOT NULL,
    facts INTEGER NOT NULL,
    seen VARCHAR NOT NULL,
    last_fact INTEGER NOT NULL,
    digest VARCHAR NOT NULL,
    content BLOB NOT NULL,
    changes VARCHAR NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX indicator_month_revision ON indicator_month (finess, month, revision);
CREATE TABLE indicator_check (
    month VARCHAR NOT NULL,
    seen VARCHAR NOT NULL,
    last_fact INTEGER NOT NULL,
    at FLOAT NOT NULL,
    PRIMARY KEY (month)
);
