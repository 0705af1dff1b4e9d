-- HybridFlow: two bots that talk to each other are detected, by how often and how alike they write.

-- The different words of a text. All numbers count as one word, because a bot's clock or ticket number
-- changes.
create or replace function hybridflow.words_of(p_text text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array(
        select distinct w
        from regexp_split_to_table(
            regexp_replace(lower(left(p_text, 1000)), '[0-9]+', '0', 'g'), '[^[:alnum:]]+'
        ) as w
        where w <> ''
    )
$$;

-- How alike two texts are, from 0 to 1: the share of their words that both have. Each text is given by its
-- words; p_is_same says whether the texts are equal, for texts without words.
create or replace function hybridflow.likeness_of(p_one text[], p_other text[], p_is_same boolean)
returns numeric
language sql
immutable
set search_path = ''
as $$
    with common as (
        select
            cardinality(p_one) + cardinality(p_other) as words,
            (
                select count(*)
                from (select unnest(p_one) intersect select unnest(p_other)) as w
            ) as shared
    )

    select case when words = 0 then p_is_same::integer else shared::numeric / (words - shared) end
    from common
$$;

-- The different sentences of a text that have three words or more, with numbers counted as in words_of. A
-- line of its own in bold is not a sentence: programs for a business's people, such as Chatwoot, put the
-- writer's name above each message.
create or replace function hybridflow.sentences_of(p_text text)
returns text[]
language sql
immutable
set search_path = ''
as $$
    select array(
        select distinct s.words
        from (
            select btrim(regexp_replace(
                regexp_replace(p, '[0-9]+', '0', 'g'), '[^[:alnum:]]+', ' ', 'g'
            )) as words
            from regexp_split_to_table(
                regexp_replace(lower(left(p_text, 1000)), '^\s*\*[^*\n]{1,80}\*:?\s*$', '', 'gn'),
                '[.!?…\n]+'
            ) as p
        ) as s
        where s.words like '% % %'
    )
$$;

-- Whether p_replies of our replies since p_since were each answered as a machine answers, although it varies
-- its words: half of its last messages share a whole sentence with p_text, or all its answers came after
-- nearly the same time. People answer sometimes after a moment, sometimes after a minute: the spread of their
-- times is about as large as the mean.
create or replace function hybridflow.answers_evenly(
    p_session_id bigint, p_text text, p_since timestamptz, p_replies integer
)
returns boolean
language sql
stable
set search_path = ''
as $$
    with asked as materialized (
        select least(p_replies, 60) as few, hybridflow.sentences_of(p_text) as sentences
    ),

    lately as materialized (
        select m.from_me, m.kind, m.body, m.sent_at, m.id from public.messages as m
        where m.session_id = p_session_id and m.sent_at > p_since
        order by m.sent_at desc, m.id desc limit 360
    ),

    theirs as (
        select
            l.kind, l.body, row_number() over (order by l.sent_at desc, l.id desc) as nth,
            extract(epoch from l.sent_at - lag(l.sent_at) over (order by l.sent_at, l.id)) as pause
        from lately as l
        where not l.from_me
    ),

    counted as (
        select
            a.few, count(*) as messages,
            count(*) filter (where hybridflow.sentences_of(t.body) && a.sentences) as alike,
            count(t.pause) filter (where length(btrim(t.body)) >= 10) as pauses,
            avg(t.pause) as mean, stddev_pop(t.pause) as spread
        from asked as a
        inner join theirs as t on t.nth <= a.few
        where t.kind = 'text'
        group by a.few
    )

    select coalesce(bool_or(c.messages >= c.few and (
        c.alike * 2 >= c.few or (c.pauses >= c.few - 1 and c.mean >= 5 and c.spread < 0.2 * c.mean)
    )), false)
    from counted as c
$$;

-- Two bots talk to each other in the session: it is paused, and the people of the business are told.
create or replace function hybridflow.pause_for_loop(p_session public.sessions)
returns void
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.cancel_turns(p_session.id, 'paused');
    perform hybridflow.begin_handoff(p_session, null, jsonb_build_object(
        'reason', 'other', 'why', 'two bots seem to talk to each other: the same again and again',
        'is_quiet', true
    ));
end
$$;

-- Whether one more message of the contact shows that a machine answers our replies. One of these is enough,
-- each counted from the last resume at the earliest:
-- - within loop_minutes there were loop_replies replies, and half as many of the contact's last messages were
--   nearly the same as this one;
-- - within loop_minutes there were five times as many replies, whatever was said;
-- - within six times as long there were three times as many replies, each answered as a machine does (see
--   answers_evenly).
-- Short messages never count as the same, and neither do messages that are not text: people say "yes" and
-- send pictures many times. If there were fewer replies, which is nearly always so, this costs a look at
-- loop_replies rows of an index. A loop_replies above a hundred counts as a hundred, whatever a tenant sets,
-- because each of its messages slows down others.
create or replace function hybridflow.is_loop(
    p_tenant public.tenants, p_session public.sessions, p_event jsonb, p_policy jsonb
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
    v_replies integer := least(
        coalesce(p_tenant.loop_replies, (p_policy ->> 'loop_replies')::numeric, 6), 100
    );
    v_minutes numeric := hybridflow.rule(p_tenant.loop_minutes, p_policy, 'loop_minutes', 10);
    v_since timestamptz;
    v_long_since timestamptz;
    v_ends timestamptz[];
    v_words text[];
begin
    if v_replies = 0 then
        return false;
    end if;
    select array_agg(e.finished_at order by e.id desc) into v_ends from (
        select t.id, t.finished_at
        from (
            select l.id, l.finished_at, l.undelivered from public.turns as l
            where l.session_id = p_session.id and l.state = 'sent'
            order by l.id desc limit v_replies * 5
        ) as t
        where t.undelivered = 0 or hybridflow.may_have_arrived(t.id)
        order by t.id desc limit v_replies * 3
    ) as e;
    if v_ends[v_replies] is null then
        return false;
    end if;
    v_since := greatest(hybridflow.clock() - hybridflow.seconds(60 * v_minutes), p_session.resumed_at);
    v_long_since := greatest(hybridflow.clock() - hybridflow.seconds(360 * v_minutes), p_session.resumed_at);
    if v_ends[v_replies * 3] > v_long_since and p_event ->> 'kind' = 'text'
        and length(btrim(p_event ->> 'text')) >= 10
        and hybridflow.answers_evenly(p_session.id, p_event ->> 'text', v_long_since, v_replies * 3)
    then
        return true;
    elsif v_ends[v_replies] <= v_since then
        return false;
    elsif p_event ->> 'kind' = 'text' and length(btrim(p_event ->> 'text')) >= 10 then
        v_words := hybridflow.words_of(p_event ->> 'text');
        if (
            select count(*) filter (
                where l.kind = 'text' and hybridflow.likeness_of(
                    hybridflow.words_of(l.body), v_words, l.body = p_event ->> 'text'
                ) >= 0.8
            ) * 2 >= v_replies
            from (
                select m.body, m.kind from public.messages as m
                where m.session_id = p_session.id and not m.from_me and m.sent_at > v_since
                order by m.sent_at desc, m.id desc limit v_replies
            ) as l
        ) then
            return true;
        end if;
    end if;
    return coalesce((
        select t.finished_at > v_since
        from (
            select l.id, l.finished_at, l.undelivered from public.turns as l
            where l.session_id = p_session.id and l.state = 'sent'
            order by l.id desc limit v_replies * 10
        ) as t
        where t.undelivered = 0 or hybridflow.may_have_arrived(t.id)
        order by t.id desc offset v_replies * 5 - 1 limit 1
    ), false);
end
$$;
