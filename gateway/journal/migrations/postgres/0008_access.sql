-- Schema 8: accounts, sessions, one-time links, tokens, the trace. New tables alone: SQLite makes them from the models.

CREATE TABLE account (
    id SERIAL NOT NULL,
    login TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    password TEXT,
    subject TEXT,
    disabled BOOLEAN NOT NULL,
    failures INTEGER NOT NULL,
    failed_at FLOAT,
    locked_until FLOAT,
    created_at FLOAT NOT NULL,
    last_login_at FLOAT,
    PRIMARY KEY (id),
    CONSTRAINT account_role CHECK (role IN ('lecteur', 'exploitant', 'administrateur')),
    UNIQUE (login),
    UNIQUE (subject)
);
CREATE TABLE web_session (
    sha256 TEXT NOT NULL,
    account_id INTEGER NOT NULL,
    created_at FLOAT NOT NULL,
    seen_at FLOAT NOT NULL,
    expires_at FLOAT NOT NULL,
    peer TEXT NOT NULL,
    agent TEXT NOT NULL,
    hint TEXT,
    PRIMARY KEY (sha256),
    FOREIGN KEY(account_id) REFERENCES account (id)
);
CREATE INDEX ix_web_session_account_id ON web_session (account_id);
CREATE TABLE invitation (
    sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    account_id INTEGER,
    created_at FLOAT NOT NULL,
    expires_at FLOAT NOT NULL,
    PRIMARY KEY (sha256),
    CONSTRAINT invitation_kind CHECK (kind IN ('first', 'new', 'reset')),
    CONSTRAINT invitation_account CHECK ((kind = 'first') = (account_id IS NULL)),
    FOREIGN KEY(account_id) REFERENCES account (id)
);
CREATE TABLE api_token (
    id SERIAL NOT NULL,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at FLOAT NOT NULL,
    expires_at FLOAT,
    last_used_at FLOAT,
    revoked_at FLOAT,
    PRIMARY KEY (id),
    UNIQUE (sha256)
);
CREATE TABLE sign_in_failure (
    key TEXT NOT NULL,
    failures INTEGER NOT NULL,
    failed_at FLOAT NOT NULL,
    locked_until FLOAT,
    PRIMARY KEY (key)
);
CREATE INDEX ix_sign_in_failure_failed_at ON sign_in_failure (failed_at);
CREATE TABLE oidc_state (
    sha256 TEXT NOT NULL,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    browser TEXT NOT NULL,
    back_to TEXT NOT NULL,
    expires_at FLOAT NOT NULL,
    PRIMARY KEY (sha256)
);
CREATE INDEX ix_oidc_state_expires_at ON oidc_state (expires_at);
CREATE TABLE audit (
    id SERIAL NOT NULL,
    at FLOAT NOT NULL,
    actor TEXT NOT NULL,
    via TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL,
    peer TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_audit_at ON audit (at);
