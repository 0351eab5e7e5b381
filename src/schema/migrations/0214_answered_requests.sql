-- A data subject's request for access that was answered, with when it was received: what control PR-02 judges. Still without who
-- asked. Breaks nothing: a new function.
create function privacy.answer_access_request(p_received timestamptz, p_answered timestamptz) returns uuid
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into privacy.subject_request (kind, received_at, due_at, completed_at, outcome)
  values ('access', p_received, p_received + interval '1 month', p_answered, 'done')
  returning request_id
$$;
revoke all on function privacy.answer_access_request(timestamptz, timestamptz) from public;
grant execute on function privacy.answer_access_request(timestamptz, timestamptz) to auditkeep_engine;
