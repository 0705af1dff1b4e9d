-- HybridFlow: pauses and resumes contacts by their number, even if they have no session yet.

-- Returns p with the session_id of the contact that `jids` (spellings of one number) name. If there is no
-- session, p_make creates one; otherwise raises PT404.
create or replace function hybridflow.with_contact(p jsonb, p_make boolean)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    v_tenant public.tenants := hybridflow.tenant_of(p - 'instance_name');
    -- Known JIDs come first, so that the session is still answered at the JID that it has.
    v_jids text[] := array(
        select j.jid from jsonb_array_elements_text(p -> 'jids') with ordinality as j (jid, place)
        left join public.session_identities as i on i.tenant_id = v_tenant.id and i.jid = j.jid
        order by i.jid is null, j.place
    );
    v_session public.sessions;
begin
    if not p_make and not exists (
        select from public.session_identities where tenant_id = v_tenant.id and jid = any(v_jids)
    ) then
        raise exception 'tenant % has no session with %', v_tenant.id, v_jids[1] using errcode = 'PT404';
    end if;
    v_session := hybridflow.resolve_session(v_tenant.id, v_jids, 'contact', null);
    return p || jsonb_build_object('session_id', v_session.id);
end
$$;

-- pause_contact({caller?, tenant_id, jids: [jid], source, reason?, until?, indefinite?, policy?})
-- Like pause_session, but for a contact, who may have no session yet. Returns {session, cancelled_turns} as
-- that does. PT404: no such tenant.
create or replace function public.pause_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('pause_contact', p, '{tenant_id,jids,source}');
    return public.pause_session(hybridflow.with_contact(p, true));
end
$$;

-- resume_contact({tenant_id, jids: [jid], source, policy})
-- Like resume_session, but for a contact. Returns {session, resumed, turn_id} as that does. PT404: no such
-- tenant, or it has no session with any of `jids`.
create or replace function public.resume_contact(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.require_keys('resume_contact', p, '{tenant_id,jids,source,policy}');
    return public.resume_session(hybridflow.with_contact(p, false));
end
$$;
