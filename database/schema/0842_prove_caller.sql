-- HybridFlow: whether whoever calls is known, asked before the body of the call is read.

-- prove_caller({caller})
-- Returns {} where the caller (see 0830) is known at this moment. PT401: an API key that nobody has, or
-- that was revoked or has expired. What a known caller may do is judged as it is done.
create or replace function public.prove_caller(p jsonb)
returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform hybridflow.known_caller(p -> 'caller');
    return '{}';
end
$$;
