-- The databases and their owners. PostgreSQL's image runs this once, on an empty volume.
--
-- Each program has a database and a role of its own and cannot enter another's. anon, authenticated,
-- service_role and authenticator are Supabase's: PostgREST logs in as authenticator and becomes the
-- role that a request's key names; the schema gives HybridFlow's functions to service_role alone.
-- Passwords come from the environment and are not repeated in any file.
\set ON_ERROR_STOP on
\getenv hybridflow_password HYBRIDFLOW_DB_PASSWORD
\getenv n8n_password N8N_DB_PASSWORD
\getenv evolution_password EVOLUTION_DB_PASSWORD
\getenv authenticator_password PGRST_DB_PASSWORD

create role hybridflow login password :'hybridflow_password';
create role n8n login password :'n8n_password';
create role evolution login password :'evolution_password';

create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
create role authenticator login noinherit password :'authenticator_password';
grant anon, authenticated, service_role to authenticator;

create database hybridflow owner hybridflow;
create database n8n owner n8n;
create database evolution owner evolution;
revoke all on database hybridflow, n8n, evolution from public;
grant connect on database hybridflow to authenticator;
