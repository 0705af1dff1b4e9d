-- HybridFlow: reads media: the pictures for the LLM, and the media that came inside a webhook.

-- read_pictures({turn_id, token, most})
-- The pictures that the LLM sees for a turn, at most the `most` newest, the oldest of them first: those of
-- the messages that it answers, and those that the contact sent within the last day. left_out: how many more
-- pictures the turn's own messages have. Returns {pictures: [{message_id, kind, jpeg}], left_out} or
-- {refused: reason}, as turn_refusal does.
create or replace function public.read_pictures(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
set enable_seqscan = off
as $$
declare
    v_now timestamptz := hybridflow.clock();
    v_turn public.turns;
    v_refused jsonb;
    v_most integer;
    v_answer jsonb;
begin
    perform hybridflow.require_keys('read_pictures', p, '{turn_id,token,most}');
    v_most := (p ->> 'most')::integer;
    select * into v_turn from public.turns where id = (p ->> 'turn_id')::bigint;
    v_refused := hybridflow.turn_refusal(v_turn, p);
    if v_refused is not null then
        return v_refused;
    end if;
    select jsonb_build_object(
        'pictures', coalesce(jsonb_agg(jsonb_build_object(
            'message_id', r.id, 'kind', r.kind, 'jpeg', r.jpeg
        ) order by r.sent_at, r.id, r.place) filter (where r.nth <= v_most), '[]'),
        'left_out', count(*) filter (where r.nth > v_most and r.in_turn)
    )
    into v_answer
    from (
        select
            m.id, m.kind, m.sent_at, m.in_turn, e.jpeg, e.place,
            row_number() over (order by m.in_turn desc, m.sent_at desc, m.id desc, e.place) as nth
        from (
            select l.id, l.kind, l.sent_at, l.deleted_at, l.turn_id is not distinct from v_turn.id as in_turn
            from public.messages as l
            where l.session_id = v_turn.session_id and not l.from_me
            order by l.sent_at desc, l.id desc limit 100
        ) as m
        inner join public.media_jobs as j on j.message_id = m.id and j.pictures_until > v_now
        cross join lateral jsonb_array_elements_text(j.pictures) with ordinality as e (jpeg, place)
        where m.deleted_at is null
    ) as r;
    return v_answer;
end
$$;

-- give_media({tenant_id, message_id, content})
-- Stores the media (in base64) that came inside the webhook of a message, for the job of that message. If the
-- job is not done, it is due at once. Returns {ok, taken}; taken is false if there is no such job.
create or replace function public.give_media(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('give_media', p, '{tenant_id,message_id,content}');
    update public.media_jobs
    set content = decode(p ->> 'content', 'base64'), next_at = hybridflow.clock(),
        updated_at = hybridflow.clock()
    where message_id = (p ->> 'message_id')::bigint and tenant_id = (p ->> 'tenant_id')::bigint
        and state = 'pending' and content is null and lease_until is null;
    return jsonb_build_object('ok', true, 'taken', found);
end
$$;

-- read_media({job_id, token})
-- The media that was stored for a job. Returns {content}, in base64 (null: there is none), or {refused:
-- reason}.
create or replace function public.read_media(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_job public.media_jobs;
begin
    perform hybridflow.require_keys('read_media', p, '{job_id,token}');
    select * into v_job from public.media_jobs where id = (p ->> 'job_id')::bigint;
    if v_job.id is null or v_job.token_hash is distinct from hybridflow.hash_token((p ->> 'token')::uuid) then
        return '{"refused": "stale"}';
    end if;
    return jsonb_build_object('content', translate(encode(v_job.content, 'base64'), E'\n', ''));
end
$$;
