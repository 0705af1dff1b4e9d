-- HybridFlow: who was erased, and how an erased contact is kept from coming back with a late webhook or gap
-- repair.

create table if not exists public.erased_contacts (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    contact_hash text not null check (contact_hash ~ '^[0-9a-f]{64}$'),
    erased_at timestamptz not null,
    primary key (tenant_id, contact_hash)
);

alter table public.erased_contacts
add column if not exists was_sending boolean not null default false,
add column if not exists contact_wrote_at timestamptz,
add column if not exists human_wrote_at timestamptz;

comment on column public.erased_contacts.was_sending is
'A message to the contact was being sent at that time, so its echo looks as if a human had written.';
comment on column public.erased_contacts.contact_wrote_at is
'When the contact wrote around the erasure; the message itself was not stored. Null once a session begins.';
comment on column public.erased_contacts.human_wrote_at is
'When a human of the business wrote around the erasure: they take over the session that begins next.';

create index if not exists erased_contacts_written_to on public.erased_contacts (erased_at)
where coalesce(human_wrote_at, contact_wrote_at) is not null;

comment on table public.erased_contacts is
'Erased contacts, as keyed hashes made by the router. Their earlier messages are not recorded again.';

create table if not exists public.erased_messages (
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    wa_id_hash bytea not null,
    erased_at timestamptz not null,
    primary key (tenant_id, wa_id_hash)
);

comment on table public.erased_messages is
'SHA-256 of the (random) ids of erased messages, for 30 days. What comes later about these messages'
' is not stored.';

create index if not exists erased_messages_by_age on public.erased_messages (erased_at);

alter table public.sessions
add column if not exists erased_before timestamptz,
add column if not exists erasure_checked boolean not null default false;

comment on column public.sessions.erased_before is
'The contact was erased and has written again. Messages up to this time are not recorded.';
comment on column public.sessions.erasure_checked is
'Whether erased_before is known for all identities of the session.';

alter table public.erased_contacts enable row level security;
alter table public.erased_messages enable row level security;

-- Returns what is stored of an erased message's id.
create or replace function hybridflow.wa_id_hash(p_wa_id text)
returns bytea
language sql
immutable
set search_path = ''
as $$
    select sha256(convert_to(p_wa_id, 'UTF8'))
$$;

-- Returns the time until which messages of the event's contact count as erased; null: the contact was never
-- erased. Ten seconds are added, because WhatsApp's clock differs, it counts whole seconds, and a reply may
-- just have been leaving.
create or replace function hybridflow.erased_before(p_tenant_id bigint, p_event jsonb)
returns timestamptz
language sql
stable
set search_path = ''
as $$
    select max(e.erased_at) + interval '10 seconds' from public.erased_contacts as e
    where e.tenant_id = p_tenant_id
        and e.contact_hash in (select h from jsonb_array_elements_text(p_event -> 'hashes') as h)
$$;

-- Whether the message was stored and has been erased.
create or replace function hybridflow.was_erased(p_tenant_id bigint, p_wa_id text)
returns boolean
language sql
stable
set search_path = ''
as $$
    select exists (
        select from public.erased_messages as e
        where e.tenant_id = p_tenant_id and e.wa_id_hash = hybridflow.wa_id_hash(p_wa_id)
    )
$$;

-- Records that a message was erased (or left while its contact was being erased), so that nothing more is
-- stored about it.
create or replace function hybridflow.bury_message(p_tenant_id bigint, p_wa_id text)
returns void
language sql
set search_path = ''
as $$
    insert into public.erased_messages (tenant_id, wa_id_hash, erased_at)
    values (p_tenant_id, hybridflow.wa_id_hash(p_wa_id), hybridflow.clock())
    on conflict (tenant_id, wa_id_hash) do update set erased_at = excluded.erased_at
$$;

-- Ends the work on an event of which nothing may be stored. ingest_events rolls back what was done.
create or replace function hybridflow.forget_event()
returns void
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'it is about a contact that was erased' using errcode = 'PT410';
end
$$;

-- Nothing of the event is stored, because its contact was erased (see forget_event). But if a human of the
-- business wrote around the erasure or after it, their takeover counts: for the contact's session, or, if
-- there is none, for the next one when it begins (see taken_over_meanwhile). Returns the decision.
create or replace function hybridflow.note_who_wrote_meanwhile(p_event jsonb, p_policy jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    c_decision constant jsonb := '{"outcome": "ignored", "decision": "erased"}';
    v_now constant timestamptz := hybridflow.clock();
    v_at constant timestamptz := least(coalesce((p_event ->> 'sent_at')::timestamptz, v_now), v_now);
    v_tenant public.tenants;
    v_erased public.erased_contacts;
    v_session public.sessions;
begin
    select * into v_tenant from public.tenants where instance_name = p_event ->> 'instance';
    select e.* into v_erased from public.erased_contacts as e
    where e.tenant_id = v_tenant.id
        and e.contact_hash in (select h from jsonb_array_elements_text(p_event -> 'hashes') as h)
    order by e.erased_at desc limit 1;
    if p_event ->> 'type' <> 'message' or p_event ->> 'chat' <> 'contact'
        or coalesce(v_at < v_erased.erased_at - interval '10 seconds', true)
        or hybridflow.was_erased(v_tenant.id, p_event ->> 'wa_id')
    then
        return c_decision;
    elsif not (p_event ->> 'from_me')::boolean then
        if v_tenant.auto_reply_seconds > 0 then
            update public.erased_contacts
            set contact_wrote_at = greatest(contact_wrote_at, v_at),
                human_wrote_at = case  -- otherwise it was a greeting, because the contact wrote first
                    when human_wrote_at
                        not between v_at and v_at + hybridflow.seconds(v_tenant.auto_reply_seconds)
                        then human_wrote_at
                end
            where tenant_id = v_tenant.id and erased_at = v_erased.erased_at;
        end if;
        return c_decision;
    end if;
    v_session.last_contact_at := v_erased.contact_wrote_at;
    if not (hybridflow.judge_business_message(v_tenant, v_session, p_event, v_at)).takeover
        or (v_erased.was_sending and p_event ->> 'wa_id' !~ hybridflow.typed_by_hand())
    then
        return c_decision;
    end if;
    select s.* into v_session from public.sessions as s
    where s.id in (
        select i.session_id from public.session_identities as i
        where i.tenant_id = v_tenant.id
            and i.jid in (select j from jsonb_array_elements_text(p_event -> 'jids') as j)
    )
    order by s.id limit 1 for update;
    if found then
        perform hybridflow.take_over(v_session, v_tenant, p_policy, v_at, null, 'the owner wrote');
    else
        update public.erased_contacts set human_wrote_at = greatest(human_wrote_at, v_at)
        where tenant_id = v_tenant.id and erased_at = v_erased.erased_at;
    end if;
    return c_decision;
end
$$;

-- p_session begins with p_event, or has just got an identity. If a human wrote earlier, when nothing of its
-- contact could be stored, that is a takeover of this session. The caller has locked the session.
create or replace function hybridflow.taken_over_meanwhile(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb
)
returns public.sessions
language plpgsql
set search_path = ''
as $$
declare
    v_erased public.erased_contacts;
    v_session public.sessions := p_session;
begin
    select e.* into v_erased from public.erased_contacts as e
    where e.tenant_id = p_tenant.id and e.human_wrote_at is not null
        and e.contact_hash in (select h from jsonb_array_elements_text(p_event -> 'hashes') as h)
    order by e.human_wrote_at desc limit 1;
    if found then
        update public.erased_contacts set human_wrote_at = null, contact_wrote_at = null
        where tenant_id = p_tenant.id and erased_at = v_erased.erased_at;
        perform hybridflow.take_over(
            p_session, p_tenant, p_policy, v_erased.human_wrote_at, null, 'the owner wrote'
        );
        select * into v_session from public.sessions where id = p_session.id;
    end if;
    return v_session;
end
$$;

-- Refuses an event from before the contact's erasure, so that it does not come into the session. For a
-- session whose identities were checked and never erased, this costs nothing. Others are checked once, and
-- again when they get an identity. The caller has locked the session.
create or replace function hybridflow.refuse_erased(
    p_session public.sessions, p_event jsonb, p_at timestamptz
)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := p_session.erased_before;
begin
    if p_session.erasure_checked and v_before is null then
        return;
    elsif not p_session.erasure_checked then
        v_before := greatest(v_before, hybridflow.erased_before(p_session.tenant_id, p_event));
        update public.sessions set erased_before = v_before, erasure_checked = true where id = p_session.id;
    end if;
    if p_at <= v_before or hybridflow.was_erased(p_session.tenant_id, p_event ->> 'wa_id') then
        perform hybridflow.forget_event();
    end if;
end
$$;

-- Refuses an edit, deletion or delivery state of an unknown message, if that message was erased, if it is an
-- edit from before the erasure of its contact, or if its contact was erased and has no session since.
create or replace function hybridflow.refuse_erased_change(p_tenant_id bigint, p_event jsonb)
returns void
language plpgsql
set search_path = ''
as $$
declare
    v_before timestamptz := hybridflow.erased_before(p_tenant_id, p_event);
begin
    if hybridflow.was_erased(p_tenant_id, p_event ->> 'wa_id')
        or (p_event ->> 'edited_at')::timestamptz <= v_before
        or (v_before is not null and not exists (
            select from public.session_identities as i
            where i.tenant_id = p_tenant_id
                and i.jid in (select j from jsonb_array_elements_text(p_event -> 'jids') as j)
        ))
    then
        perform hybridflow.forget_event();
    end if;
end
$$;

-- Returns the id of the message that an event was about, from the event's key; null for an event about the
-- connection.
create or replace function hybridflow.wa_id_of_event(p_key text)
returns text
language sql
immutable
set search_path = ''
as $$
    select (regexp_match(p_key, case split_part(p_key, ':', 1)
        when 'edit' then '^edit:(.*):[0-9]*:[0-9a-f]+$'
        when 'delete' then '^delete:(.*)$'
        when 'messages.update' then '^messages\.update:(.*):[a-z_]+$'
        else '^(?:messages\.upsert|send\.message):[01]:(.*)$'
    end))[1]
$$;
