-- HybridFlow: test turns (`dry_turns`): a flow runs as it is, and what it sends is written down instead of
-- sent. They are separate from turns: they change no session, message, budget or count, and nothing leads
-- from a test turn to Evolution. Its row contains what a flow said to a made-up contact. The row is deleted
-- as soon as its result was read, or else when the next test turn begins, an hour or more after it began.

create table if not exists public.dry_turns (
    -- Test turns use ids far above those of turns, because a flow may store data under a turn_id.
    id bigint generated always as identity (start with 9000000000000000) primary key,
    tenant_id bigint not null references public.tenants (id) on delete cascade,
    token_hash bytea not null,
    began_at timestamptz not null,
    ends_at timestamptz not null,
    said jsonb not null default '[]',
    ended jsonb
);

comment on table public.dry_turns is
'Test turns of flows: what they would have sent, until it was read. Nothing about a contact.';

create index if not exists dry_turns_by_tenant on public.dry_turns (tenant_id, began_at);
create index if not exists dry_turns_by_age on public.dry_turns (began_at);

alter table public.dry_turns enable row level security;

-- begin_dry_turn({instance_name, seconds, flow?, caller?})
-- Begins a test turn of that tenant, which lasts for `seconds`. `flow`: a flow to test instead of the
-- tenant's own. Only the deployment may name one, because it is a path in its n8n. Returns {dry_turn_id,
-- token, now, tenant}: the tenant as in a turn's context, without its keys. PT404: no such instance. PT403:
-- the caller may not name a flow. PT409: the tenant is not active; or it has an LLM key of its own, so that
-- no flow gets its turns; or it had 60 test turns within an hour.
create or replace function public.begin_dry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_tenant public.tenants;
    v_token uuid := gen_random_uuid();
    v_id bigint;
begin
    perform hybridflow.require_keys('begin_dry_turn', p, '{instance_name,seconds}');
    select * into v_tenant from public.tenants where instance_name = p ->> 'instance_name';
    if not found then
        raise exception 'there is no tenant with the instance %', p ->> 'instance_name' using errcode = 'PT404';
    elsif p ->> 'flow' is not null then
        perform hybridflow.require_role(p -> 'caller', null, 'admin');
    end if;
    if not v_tenant.is_active then
        raise exception 'the tenant is not active: nothing is answered for it' using errcode = 'PT409';
    elsif v_tenant.llm_api_key is not null then
        raise exception 'the tenant has an LLM key of its own: its turns go to no flow' using errcode = 'PT409';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('dry turns:' || v_tenant.id, 0));
    delete from public.dry_turns where id in (
        select d.id from public.dry_turns as d
        where d.began_at < v_now - interval '1 hour' order by d.began_at limit 100
        for update skip locked
    );
    if (
        select count(*) from public.dry_turns as d
        where d.tenant_id = v_tenant.id and d.began_at > v_now - interval '1 hour'
    ) >= 60 then
        raise exception 'the tenant has had 60 test turns within an hour: wait a while' using errcode = 'PT409';
    end if;
    insert into public.dry_turns (tenant_id, token_hash, began_at, ends_at)
    values (
        v_tenant.id, hybridflow.hash_token(v_token), v_now,
        v_now + hybridflow.seconds((p ->> 'seconds')::numeric)
    )
    returning id into v_id;
    return jsonb_build_object(
        'dry_turn_id', v_id, 'token', v_token, 'now', v_now,
        'tenant', jsonb_build_object(
            'tenant_id', v_tenant.id, 'instance_name', v_tenant.instance_name, 'evo_server_url', '',
            'evo_api_key', null, 'system_prompt', v_tenant.system_prompt,
            'llm_provider', v_tenant.llm_provider, 'llm_api_key', null,
            'llm_model', v_tenant.llm_model, 'llm_max_tokens', v_tenant.llm_max_tokens,
            'n8n_flow', v_tenant.n8n_flow, 'n8n_contract', v_tenant.n8n_contract,
            'reply_rules', hybridflow.reply_rules(v_tenant), 'facts', v_tenant.facts,
            'timezone', v_tenant.timezone, 'opening_hours', v_tenant.opening_hours,
            'away_message', v_tenant.away_message, 'answer_when_closed', v_tenant.answer_when_closed
        )
    );
end
$$;

-- note_dry_turn({dry_turn_id, token, instance_name?, said?, ended?})
-- What a flow reports about its test turn. `said`: messages that it has sent through the gateway to that
-- instance; `ended`: how it has closed the turn. Returns {ok} or {refused: reason}: 'stale', the turn is
-- over, or no turn has the token; 'elsewhere', the instance does not belong to the turn's tenant;
-- 'too_many_sends', more than 500 messages or a million characters. Reporting the same end again is not an
-- error.
create or replace function public.note_dry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.dry_turns;
begin
    perform hybridflow.require_keys('note_dry_turn', p, '{dry_turn_id,token}');
    select * into v_turn from public.dry_turns
    where id = (p ->> 'dry_turn_id')::bigint and token_hash = hybridflow.hash_token((p ->> 'token')::uuid)
    for update;
    if not found or v_turn.ends_at <= hybridflow.clock() then
        return jsonb_build_object('refused', 'stale');
    elsif v_turn.ended is not null then
        if v_turn.ended -> 'how' = p #> '{ended,how}' then
            return jsonb_build_object('ok', true);
        end if;
        return jsonb_build_object('refused', 'stale');
    elsif p ->> 'instance_name' <> (
        select t.instance_name from public.tenants as t where t.id = v_turn.tenant_id
    ) then
        return jsonb_build_object('refused', 'elsewhere');
    elsif jsonb_array_length(v_turn.said) >= 500 or length(v_turn.said::text) > 1000000 then
        return jsonb_build_object('refused', 'too_many_sends');
    end if;
    update public.dry_turns
    set said = said || coalesce(nullif(p -> 'said', 'null'), '[]'), ended = nullif(p -> 'ended', 'null')
    where id = v_turn.id;
    return jsonb_build_object('ok', true);
end
$$;

-- look_at_dry_turn({instance_name, dry_turn_id, close?})
-- What a flow has said so far in a test turn of that tenant. `close`: ends the test turn; its token is no
-- longer valid, and what was said is deleted. Returns {said: [message], ended, is_over}; is_over: its flow
-- has ended it, or its time is up. PT404: no such test turn.
create or replace function public.look_at_dry_turn(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_turn public.dry_turns;
begin
    perform hybridflow.require_keys('look_at_dry_turn', p, '{instance_name,dry_turn_id}');
    select d.* into v_turn from public.dry_turns as d
    inner join public.tenants as t on t.id = d.tenant_id
    where d.id = (p ->> 'dry_turn_id')::bigint and t.instance_name = p ->> 'instance_name'
    for update of d;
    if not found then
        raise exception 'there is no test turn %', p ->> 'dry_turn_id' using errcode = 'PT404';
    elsif (p ->> 'close')::boolean then
        update public.dry_turns set said = '[]', ends_at = least(ends_at, hybridflow.clock())
        where id = v_turn.id;
    end if;
    return jsonb_build_object(
        'said', v_turn.said, 'ended', v_turn.ended,
        'is_over', v_turn.ended is not null or v_turn.ends_at <= hybridflow.clock()
    );
end
$$;
