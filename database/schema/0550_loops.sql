-- HybridFlow: two bots that talk to each other are noticed, by rate and likeness.

-- The different words of a text, numbers all counting as one: a bot's clock or ticket number changes.
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

-- How alike two texts are, each given by its words (and itself, where it has none), from 0 to 1: the share of
-- their words that both have.
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

-- Whether one more message of the contact shows that a machine answers our replies. Within loop_minutes
-- (and since the last resume) there were loop_replies replies, and half of as many of the contact's last
-- messages were nearly the same as this one; or five times as many replies, whatever was said. Short
-- messages are never alike, nor is what is no text: people say "yes" and send pictures many times. Costs
-- a look at loop_replies rows of an index where there were not that many replies, which is nearly always.
-- More than a hundred count as a hundred, whatever a tenant says: each of its messages slows down others.
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
    v_since timestamptz;
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
        order by t.id desc limit v_replies
    ) as e;
    if v_ends[v_replies] is null then
        return false;
    end if;
    v_since := greatest(
        hybridflow.clock() - hybridflow.seconds(
            60 * hybridflow.rule(p_tenant.loop_minutes, p_policy, 'loop_minutes', 10)
        ),
        p_session.resumed_at
    );
    if v_ends[v_replies] <= v_since then
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
