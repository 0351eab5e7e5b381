-- Who may decide: persons, their roles and their SSH keys, kept apart from the users and user_roles that applications
-- write. Append-only; rows come from signed acts through compliance.record_person_act (0043) only. The database cannot
-- check signatures, so a row counts only while its act is one that the newest act stands on (compliance.current_acts):
-- officers get past an act that nobody signed by following the last one that holds. Breaks nothing: new.

create function compliance.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'AK013';
end
$$;

-- Which installation signed payloads belong to. A new incarnation (after a restore from backup) is a new row with the
-- same id: register and decisions made before go on counting.
create table compliance.installation (
  incarnation integer primary key check (incarnation >= 1),
  installation_id uuid not null,
  began_at timestamptz not null default now()
);

create function compliance.keep_installation_id() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.installation_id := coalesce((select i.installation_id from compliance.installation i limit 1), gen_random_uuid());
  return new;
end
$$;
create trigger keep_installation_id before insert on compliance.installation
  for each row execute function compliance.keep_installation_id();
alter table compliance.installation enable always trigger keep_installation_id;
insert into compliance.installation (incarnation) values (1);

create table compliance.person (
  id uuid primary key default gen_random_uuid(),
  -- ASCII without the signs that mean something in an allowed_signers file.
  email text not null check (email ~ '^[a-z0-9._%+''-]+@[a-z0-9.-]+$'),
  name text not null check (length(btrim(name)) > 0 and name !~ '[[:cntrl:]]'),
  kind text not null default 'human' check (kind in ('human', 'service')),
  act_sequence integer,
  created_at timestamptz not null default now(),
  unique nulls not distinct (email, act_sequence)
);
comment on table compliance.person is
  'Persons who may act on compliance objects. A service person generates scheduled reports and may neither submit nor decide.';

-- One signed change of the register; the payload is RFC 8785 text, so the rows below can be derived from it again.
create table compliance.person_act (
  sequence integer primary key check (sequence >= 1),
  payload text not null,
  payload_sha256 char(64) not null unique
    check (payload_sha256 = encode(sha256(convert_to(payload, 'UTF8')), 'hex')),
  -- The act that this one follows, as its signers say; null for the founding act.
  previous_act_sha256 char(64) references compliance.person_act (payload_sha256),
  recorded_at timestamptz not null default now(),
  effective_at timestamptz not null
);
create table compliance.person_act_signature (
  act_sequence integer not null references compliance.person_act (sequence),
  person_id uuid not null references compliance.person (id),
  key_fingerprint text not null,
  signature text not null check (signature like '-----BEGIN SSH SIGNATURE-----%'),
  primary key (act_sequence, person_id)
);
alter table compliance.person
  add constraint person_act_fk foreign key (act_sequence) references compliance.person_act (sequence),
  add constraint person_by_act check ((kind = 'service') = (act_sequence is null));

create table compliance.person_role (
  id uuid primary key default gen_random_uuid(),
  person_id uuid not null references compliance.person (id),
  role text not null check (role in
    ('preparer', 'reviewer', 'approver', 'records_manager', 'legal', 'policy_owner', 'key_officer')),
  act_sequence integer not null references compliance.person_act (sequence),
  effective_at timestamptz not null
);
create index person_role_person on compliance.person_role (person_id);
create table compliance.person_role_end (
  person_role_id uuid not null references compliance.person_role (id),
  act_sequence integer not null references compliance.person_act (sequence),
  effective_at timestamptz not null,
  primary key (person_role_id, act_sequence)
);

create table compliance.person_key (
  fingerprint text not null check (fingerprint ~ '^SHA256:[A-Za-z0-9+/]{43}$'),
  person_id uuid not null references compliance.person (id),
  public_key text not null check (public_key ~ '^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+$'),
  act_sequence integer not null references compliance.person_act (sequence),
  effective_at timestamptz not null,
  primary key (fingerprint, act_sequence)
);
comment on table compliance.person_key is
  'OpenSSH public keys. A key counts from effective_at until person_key_end.effective_at; it never changes its person.';
create index person_key_person on compliance.person_key (person_id);
create table compliance.person_key_end (
  fingerprint text not null,
  act_sequence integer not null references compliance.person_act (sequence),
  effective_at timestamptz not null,
  reason text not null check (reason in ('replaced', 'left', 'compromised')),
  primary key (fingerprint, act_sequence)
);

do $$
declare
  guarded text;
begin
  foreach guarded in array array['installation', 'person', 'person_act', 'person_act_signature', 'person_role',
                                 'person_role_end', 'person_key', 'person_key_end'] loop
    execute format('create trigger append_only before update or delete on compliance.%I
                    for each row execute function compliance.refuse_change()', guarded);
    execute format('create trigger no_truncate before truncate on compliance.%I
                    for each statement execute function compliance.refuse_change()', guarded);
    execute format('alter table compliance.%I enable always trigger append_only', guarded);
    execute format('alter table compliance.%I enable always trigger no_truncate', guarded);
    execute format('grant select on compliance.%I to auditkeep_engine', guarded);
  end loop;
end
$$;

-- Who scheduled reports are generated by.
insert into compliance.person (id, email, name, kind)
values ('00000000-0000-4000-8000-000000000001', 'engine@auditkeep.invalid', 'auditkeep engine', 'service');
