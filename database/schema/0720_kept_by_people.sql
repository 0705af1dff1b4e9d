-- HybridFlow: labels, owners and notes, as people set them.

-- set_labels({tenant_id, session_id, add?: [label], remove?: [label], policy?})
-- Adds labels to the session and removes labels from it. With 'no-ai' the AI does not write there any more:
-- its turns that have not ended are cancelled. Returns {session, cancelled_turns}. PT404: the tenant has no
-- such session. PT422: a label is not valid, or there are more than twenty.
create or replace function public.set_labels(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_add text[] := array(select jsonb_array_elements_text(coalesce(nullif(p -> 'add', 'null'), '[]')));
    v_remove text[] := array(select jsonb_array_elements_text(coalesce(nullif(p -> 'remove', 'null'), '[]')));
    v_labels text[];
    v_cancelled integer := 0;
begin
    perform hybridflow.require_keys('set_labels', p, '{tenant_id,session_id}');
    -- A null in `remove` would remove all labels, because no comparison with null is true.
    if exists (select from unnest(v_add) as l where l is null or l !~ '^[a-z0-9][a-z0-9-]{0,39}$')
        or exists (select from unnest(v_remove) as l where l is null)
    then
        raise exception 'a label has 1 to 40 small letters, digits and hyphens, such as no-ai'
            using errcode = 'PT422';
    end if;
    v_session := hybridflow.session_of(p);
    v_labels := array(
        select distinct l from unnest(v_session.labels || v_add) as l where l <> all(v_remove) order by l
    );
    -- A session that was merged from two may have more.
    if cardinality(v_labels) > greatest(20, cardinality(v_session.labels)) then
        raise exception 'a session may have 20 labels, not %', cardinality(v_labels) using errcode = 'PT422';
    end if;
    update public.sessions set labels = v_labels, updated_at = hybridflow.clock() where id = v_session.id;
    if 'no-ai' = any(v_labels) then
        v_cancelled := hybridflow.cancel_turns(v_session.id, 'no_ai');
    end if;
    return jsonb_build_object(
        'session', hybridflow.session_json(v_session.id, p -> 'policy'), 'cancelled_turns', v_cancelled
    );
end
$$;

-- set_owner({tenant_id, session_id, owner?, policy?})
-- Sets who of the business looks after the session; null: nobody in particular. Returns {session}. PT404: the
-- tenant has no such session. PT422: the name is not valid.
create or replace function public.set_owner(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
begin
    perform hybridflow.require_keys('set_owner', p, '{tenant_id,session_id}');
    if not coalesce(length(p ->> 'owner') between 1 and 100, true) then
        raise exception 'owner must have from 1 to 100 characters' using errcode = 'PT422';
    end if;
    perform hybridflow.check_name('owner', p ->> 'owner');
    v_session := hybridflow.session_of(p);
    update public.sessions set owner = p ->> 'owner', updated_at = hybridflow.clock() where id = v_session.id;
    return jsonb_build_object('session', hybridflow.session_json(v_session.id, p -> 'policy'));
end
$$;

-- add_note({caller?, tenant_id, session_id, body, author?})
-- Adds a note to the session, for the people of the business. `author` is used only if the caller is not
-- known. Returns {note}. PT404: the tenant has no such session. PT422: the note is empty or too long, or
-- there are 500 already.
create or replace function public.add_note(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_session public.sessions;
    v_note public.session_notes;
begin
    perform hybridflow.require_keys('add_note', p, '{tenant_id,session_id,body}');
    if length(btrim(p ->> 'body')) = 0 or length(p ->> 'body') > 4000 then
        raise exception 'a note must have from 1 to 4000 characters' using errcode = 'PT422';
    end if;
    v_session := hybridflow.session_of(p);
    if (select count(*) from public.session_notes as n where n.session_id = v_session.id) >= 500 then
        raise exception 'a session may have 500 notes: remove some' using errcode = 'PT422';
    end if;
    insert into public.session_notes (tenant_id, session_id, body, author, created_at)
    values (
        v_session.tenant_id, v_session.id, p ->> 'body',
        left(coalesce(p -> 'caller' ->> 'name', p ->> 'author', '?'), 100), hybridflow.clock()
    )
    returning * into v_note;
    perform hybridflow.tell_change('note', v_note.tenant_id, v_note.session_id);
    return jsonb_build_object('note', to_jsonb(v_note));
end
$$;

-- list_notes({tenant_id, session_id, limit?, cursor?})
-- Returns {items, next_cursor}: the notes of a session, the newest first. PT404: the tenant has no such
-- session.
create or replace function public.list_notes(p jsonb)
returns jsonb
language plpgsql
stable
set search_path = ''
as $$
declare
    v_limit integer := hybridflow.page_size(p);
    v_before bigint := coalesce((hybridflow.from_cursor('notes', p) ->> 0)::bigint, 9223372036854775807);
    v_rows jsonb[];
begin
    perform hybridflow.require_keys('list_notes', p, '{tenant_id,session_id}');
    perform hybridflow.require_own(p);
    select array_agg(
        jsonb_build_object('key', jsonb_build_array(f.id), 'item', to_jsonb(f)) order by f.id desc
    )
    into v_rows
    from (
        select n.* from public.session_notes as n
        where n.session_id = (p ->> 'session_id')::bigint and n.id < v_before
        order by n.id desc limit v_limit + 1
    ) as f;
    return hybridflow.page('notes', v_rows, v_limit);
end
$$;

-- remove_note({tenant_id, session_id, note_id})
-- Returns {removed}: false if there is no such note. PT404: the tenant has no such session.
create or replace function public.remove_note(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_removed public.session_notes;
begin
    perform hybridflow.require_keys('remove_note', p, '{tenant_id,session_id,note_id}');
    perform hybridflow.require_own(p);
    delete from public.session_notes
    where id = (p ->> 'note_id')::bigint and session_id = (p ->> 'session_id')::bigint
    returning * into v_removed;
    if v_removed.id is not null then
        perform hybridflow.tell_change('note', v_removed.tenant_id, v_removed.session_id);
    end if;
    return jsonb_build_object('removed', v_removed.id is not null);
end
$$;
