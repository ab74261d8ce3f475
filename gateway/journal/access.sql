-- The statements of accounts and access (gateway/journal/access.py). As in queries.sql: /*pg …*/ is for PostgreSQL.

-- === accounts =======================================================================================================

-- name: account_by_login
SELECT * FROM account WHERE login = :login /*pg FOR UPDATE*/

-- name: account_by_id
SELECT * FROM account WHERE id = :account_id /*pg FOR UPDATE*/

-- name: account_by_subject
SELECT * FROM account WHERE subject = :subject /*pg FOR UPDATE*/

-- Disabled or not, whether they can come in yet or not: whoever made them has a link of theirs.
-- name: administrators_exist
SELECT EXISTS (SELECT 1 FROM account WHERE role = 'administrateur') AS there

-- name: accounts_for_people
SELECT a.id, a.login, a.name, a.role, a.subject, a.disabled, a.failures, a.locked_until, a.created_at, a.last_login_at,
       a.password IS NOT NULL AS has_password,
       (SELECT count(*) FROM web_session w WHERE w.account_id = a.id AND w.expires_at > :now AND w.seen_at > :idle)
           AS sessions,
       EXISTS (SELECT 1 FROM invitation i WHERE i.account_id = a.id AND i.expires_at > :now) AS invited
  FROM account a ORDER BY a.login

-- name: insert_account
INSERT INTO account (login, name, role, password, subject, disabled, failures, created_at)
VALUES (:login, :name, :role, :password, :subject, false, 0, :now) RETURNING id

-- name: set_password
UPDATE account SET password = :password, failures = 0, failed_at = NULL, locked_until = NULL WHERE id = :account_id

-- name: rehash_password
UPDATE account SET password = :password WHERE id = :account_id AND password = :before

-- name: set_role
UPDATE account SET role = :role WHERE id = :account_id

-- name: set_disabled
UPDATE account SET disabled = :disabled WHERE id = :account_id

-- name: set_subject
UPDATE account SET subject = :subject WHERE id = :account_id

-- Those who can come in: by a password that is chosen, or by the OpenID Connect provider.
-- name: administrators
SELECT id FROM account
 WHERE role = 'administrateur' AND NOT disabled
   AND ((password IS NOT NULL AND :by_password = 1) OR (subject IS NOT NULL AND :external = 1))
 ORDER BY id /*pg FOR UPDATE*/

-- name: account_failed
UPDATE account SET failures = :failures, failed_at = :now, locked_until = CAST(:locked_until AS DOUBLE PRECISION)
 WHERE id = :account_id

-- name: account_entered
UPDATE account SET failures = 0, failed_at = NULL, locked_until = NULL, last_login_at = :now WHERE id = :account_id

-- name: unlock_account
UPDATE account SET failures = 0, failed_at = NULL, locked_until = NULL WHERE id = :account_id

-- name: sign_in_failure
SELECT failures, failed_at, locked_until FROM sign_in_failure WHERE key = :key

-- name: keep_sign_in_failure
INSERT INTO sign_in_failure (key, failures, failed_at, locked_until)
VALUES (:key, :failures, :now, CAST(:locked_until AS DOUBLE PRECISION))
    ON CONFLICT (key) DO UPDATE
   SET failures = excluded.failures, failed_at = excluded.failed_at, locked_until = excluded.locked_until

-- name: forget_sign_in_failure
DELETE FROM sign_in_failure WHERE key = :key

-- name: forget_old_sign_in_failures
DELETE FROM sign_in_failure WHERE failed_at < :before

-- name: bound_sign_in_failures
DELETE FROM sign_in_failure
 WHERE key IN (SELECT key FROM sign_in_failure ORDER BY failed_at DESC LIMIT 1000000 OFFSET :rows)

-- === sessions =======================================================================================================

-- name: insert_session
INSERT INTO web_session (sha256, account_id, created_at, seen_at, expires_at, peer, agent, hint)
VALUES (:sha256, :account_id, :now, :now, :expires_at, :peer, :agent, CAST(:hint AS TEXT))

-- name: session_by_sum
SELECT w.sha256, w.account_id, w.seen_at, a.login, a.name, a.role
  FROM web_session w JOIN account a ON a.id = w.account_id
 WHERE w.sha256 = :sha256 AND w.expires_at > :now AND w.seen_at > :idle AND NOT a.disabled

-- name: session_seen
UPDATE web_session SET seen_at = :now WHERE sha256 = :sha256 AND seen_at < :now

-- name: sessions_of_account
SELECT sha256, created_at, seen_at, expires_at, peer, agent FROM web_session
 WHERE account_id = :account_id AND expires_at > :now AND seen_at > :idle ORDER BY seen_at DESC, sha256

-- name: close_session
DELETE FROM web_session WHERE sha256 = :sha256 RETURNING account_id, hint

-- name: close_sessions
DELETE FROM web_session WHERE account_id = :account_id AND sha256 <> :but

-- name: close_oldest_sessions
DELETE FROM web_session
 WHERE sha256 IN (SELECT sha256 FROM web_session WHERE account_id = :account_id
                   ORDER BY created_at DESC, sha256 LIMIT 1000000 OFFSET :sessions)

-- name: close_ended_sessions
DELETE FROM web_session WHERE expires_at <= :now OR seen_at <= :idle

-- === one-time links =================================================================================================

-- name: insert_invitation
INSERT INTO invitation (sha256, kind, account_id, created_at, expires_at)
VALUES (:sha256, :kind, CAST(:account_id AS INTEGER), :now, :expires_at)

-- name: invitation
SELECT kind, account_id FROM invitation WHERE sha256 = :sha256 AND expires_at > :now /*pg FOR UPDATE*/

-- name: invitation_there
SELECT 1 AS there FROM invitation WHERE sha256 = :sha256 AND expires_at > :now

-- name: delete_invitation
DELETE FROM invitation WHERE sha256 = :sha256

-- name: delete_invitations_of
DELETE FROM invitation WHERE account_id = :account_id

-- name: delete_first_invitations
DELETE FROM invitation WHERE kind = 'first'

-- name: delete_old_invitations
DELETE FROM invitation WHERE expires_at <= :now

-- === tokens of programs =============================================================================================

-- name: insert_api_token
INSERT INTO api_token (name, sha256, scopes, created_by, created_at, expires_at)
VALUES (:name, :sha256, :scopes, :by, :now, CAST(:expires_at AS DOUBLE PRECISION)) RETURNING id

-- name: api_token_by_sum
SELECT id, name, scopes, last_used_at FROM api_token
 WHERE sha256 = :sha256 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)

-- name: api_token_in_use
SELECT id FROM api_token
 WHERE name = :name AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)

-- name: api_token_used
UPDATE api_token SET last_used_at = :now WHERE id = :token_id

-- name: revoke_api_token
UPDATE api_token SET revoked_at = :now WHERE id = :token_id AND revoked_at IS NULL RETURNING name

-- name: api_tokens
SELECT id, name, scopes, created_by, created_at, expires_at, last_used_at, revoked_at FROM api_token
 ORDER BY id DESC LIMIT :limit

-- === log-in at an OpenID Connect provider ===========================================================================

-- name: insert_oidc_state
INSERT INTO oidc_state (sha256, nonce, verifier, browser, back_to, expires_at)
VALUES (:sha256, :nonce, :verifier, :browser, :back_to, :expires_at)

-- name: take_oidc_state
DELETE FROM oidc_state WHERE sha256 = :sha256 RETURNING nonce, verifier, browser, back_to, expires_at

-- name: delete_old_oidc_states
DELETE FROM oidc_state WHERE expires_at <= :now

-- name: bound_oidc_states
DELETE FROM oidc_state
 WHERE sha256 IN (SELECT sha256 FROM oidc_state ORDER BY expires_at DESC LIMIT 1000000 OFFSET :rows)

-- === the trace ======================================================================================================

-- name: insert_audit
INSERT INTO audit (at, actor, via, action, subject, details, peer)
VALUES (:now, :actor, :via, :action, :subject, :details, :peer)

-- name: audit_rows
SELECT id, at, actor, via, action, subject, details, peer FROM audit
 WHERE (:before = 0 OR id < :before) AND (:actor = '' OR actor = :actor) AND (:action = '' OR action = :action)
   AND at >= :since AND at < :until
 ORDER BY id DESC LIMIT :limit

-- Never the newest row: its number would be given again.
-- name: old_audit
SELECT count(*) FROM audit WHERE at < :before AND id < (SELECT max(id) FROM audit)

-- name: delete_old_audit
DELETE FROM audit
 WHERE id IN (SELECT id FROM audit WHERE at < :before AND id < (SELECT max(id) FROM audit) ORDER BY at LIMIT :limit)

-- name: audit_actions
SELECT DISTINCT action FROM audit ORDER BY action
