-- Schema 9: what to look at beside the figures of a month, as it is now. A new table alone: SQLite makes it from the models.

CREATE TABLE indicator_quality (
    finess TEXT NOT NULL,
    month TEXT NOT NULL,
    seen TEXT NOT NULL,
    last_fact INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (finess, month)
);
