-- The texts of the templates that reports were made from, by their hash, so that the SQL behind a figure can be read when the release
-- that came with it is gone. Templates are no secrets and hold no data of persons. Breaks nothing: a new table and a function.

create table compliance.template_text (
  sha256 char(64) primary key,
  content text not null check (sha256 = encode(sha256(convert_to(content, 'UTF8')), 'hex'))
);
comment on table compliance.template_text is 'Templates by the hash that models have of them; append-only.';
create trigger append_only before update or delete on compliance.template_text
  for each row execute function compliance.refuse_change();
create trigger no_truncate before truncate on compliance.template_text
  for each statement execute function compliance.refuse_change();
alter table compliance.template_text enable always trigger append_only;
alter table compliance.template_text enable always trigger no_truncate;
grant select on compliance.template_text to auditkeep_engine;

-- Keeps templates; those that are there stay as they are.
create function compliance.keep_templates(p_contents text[]) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into compliance.template_text (sha256, content)
  select distinct encode(sha256(convert_to(given.content, 'UTF8')), 'hex'), given.content
    from unnest(p_contents) as given (content)
   order by 1
  on conflict (sha256) do nothing
$$;
revoke execute on function compliance.keep_templates(text[]) from public;
grant execute on function compliance.keep_templates(text[]) to auditkeep_engine;
