-- HybridFlow: drops what an earlier release had and this one no longer has. (A function of the schema
-- hybridflow is dropped automatically; one of the schema public must be dropped here by its name.)

drop index if exists public.turns_one_active;
drop index if exists public.turns_one_pending;
drop index if exists public.turns_one_at_work;
drop index if exists public.turns_due;
drop index if exists public.turns_due_by_tenant;
drop index if exists public.turns_leased;
drop index if exists public.turns_leased_by_tenant;
drop index if exists public.notices_due;
drop index if exists public.notices_due_by_tenant;
drop index if exists public.notices_one_of_connection;
drop index if exists public.messages_in_doubt;
drop trigger if exists turns_words_are_over on public.turns;
