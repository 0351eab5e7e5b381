/** The canonical bytes against their published vectors and against two other implementations: SQL, and verify.mjs. */
import { isDeepStrictEqual } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { timestampText, uuidText } from '../../src/audit/copy/pg-time.ts';
import { readTuples, type Tuple, type TupleSource } from '../../src/audit/copy/tuples.ts';
import {
  ACTOR_COLUMNS,
  BARE_COLUMNS,
  commitGroup,
  type EventGroup,
  eventEntry,
  eventLeaf,
  frameFields,
  PAYLOAD_COLUMNS,
} from '../../src/audit/event/canonical.ts';
import { type EventHashes, hashEvent, hashTuple } from '../../src/audit/event/event-digest.ts';
import { type EventRow, eventSource, eventTuples, RAW_EVENT_COLUMNS } from '../../src/audit/event/event-source.ts';
import { chainLeaves, EMPTY_CHAIN } from '../../src/audit/tree/chain.ts';
import { digestBytes } from '../../src/audit/tree/hash.ts';
import { useDatabase } from '../support/database.ts';
import vectors from '../vectors/audit-event-v1.json' with { type: 'json' };
import { verifier } from '../verifier/verifier.ts';

const hex = (text: string | null) => (text === null ? null : Buffer.from(text, 'hex'));

describe('the published vectors', () => {
  it('cover both groups, absent groups, NULL fields and text beyond ASCII', () => {
    expect(vectors.events.length).toBeGreaterThanOrEqual(4);
    expect(vectors.columns).toEqual({ bare: BARE_COLUMNS, actor: ACTOR_COLUMNS, payload: PAYLOAD_COLUMNS });
  });

  it.each(vectors.events)('$name', (vector) => {
    const actor = commitGroup('actor', hex(vector.actorSalt), frameFields(vector.actor.map(hex)));
    const payload = commitGroup('payload', hex(vector.payloadSalt), frameFields(vector.payload.map(hex)));
    const bare = frameFields(vector.bare.map(hex));
    expect(actor?.toString('hex') ?? null).toBe(vector.actorCommitment);
    expect(payload?.toString('hex') ?? null).toBe(vector.payloadCommitment);
    expect(eventEntry(bare, { actor, payload }).toString('hex')).toBe(vector.entry);
    expect(eventLeaf(bare, { actor, payload }).toString('hex')).toBe(vector.leaf);
  });

  it('chain to the published hashes', () => {
    const leaves = vectors.events.map((vector) => Buffer.from(vector.leaf, 'hex'));
    const hashes = chainLeaves(EMPTY_CHAIN, leaves).map((hash) => hash.toString('hex'));
    expect(hashes).toEqual(vectors.events.map((vector) => vector.chainHash));
  });
});

describe('SQL, TypeScript and the stand-alone verifier', () => {
  const db = useDatabase();
  // 100,000 take too long beside everything else: CONTRIBUTING.md says how they are run.
  const ROWS = Number(process.env['AUDITKEEP_TEST_ROWS'] ?? 3000);

  beforeAll(async () => {
    await db.admin.withClient(async (client) => {
      // A plain table of the same row type: no partition is needed for years 1 to 9999.
      await client.query('create unlogged table public.sample (like audit.audit_log including defaults)');
      await client.query(RANDOM_ROWS, [ROWS]);
    });
  });

  it('compute the same entry, commitments and leaf for random rows', async () => {
    const published = new Map<string, { leaf: Buffer; commitments: unknown; at: string }>();
    let compared = 0;
    const wrong: string[] = [];
    await db.admin.withClient(async (client) => {
      for await (const slab of readTuples(client, SQL_ENTRIES)) {
        for (const { id, entry, leaf, at } of slab) {
          const read = verifier.parseEntry(entry);
          if (read === null || !read.id.equals(id) || !verifier.leafHash(entry).equals(leaf)) wrong.push(uuidText(id));
          const commitments = {
            actor: read?.commitments['actor'] ?? null,
            payload: read?.commitments['payload'] ?? null,
          };
          // Slabs are read into one another's memory: what is kept is copied.
          const copy = { actor: copyOf(commitments.actor), payload: copyOf(commitments.payload) };
          published.set(uuidText(id), { leaf: Buffer.from(leaf), commitments: copy, at });
        }
      }
      const source = {
        ...eventSource(`select ${RAW_EVENT_COLUMNS} from public.sample e`),
        decode: (tuple: Tuple) => ({ ...eventTuples.decode(tuple), inPlace: hashTuple(tuple) }),
      };
      for await (const slab of readTuples(client, source)) {
        for (const row of slab) {
          compared += 1;
          if (!agrees(row, published.get(uuidText(row.id)))) wrong.push(uuidText(row.id));
        }
      }
    });
    expect(wrong).toEqual([]);
    expect([published.size, compared]).toEqual([ROWS, ROWS]);

    function agrees(
      row: EventRow & { readonly inPlace: EventHashes },
      twin: { leaf: Buffer; commitments: unknown; at: string } | undefined,
    ): boolean {
      const commitments = {
        actor: commitGroup('actor', row.actorSalt, row.actor),
        payload: commitGroup('payload', row.payloadSalt, row.payload),
      };
      const opens = (group: EventGroup, salt: Uint8Array | null, framed: Uint8Array) =>
        // The sample has columns without a salt too, which no role can write and verification names.
        salt === null || verifier.judgeOpening(group, salt, framed, commitments[group]) === 'opened';
      return (
        twin !== undefined &&
        eventLeaf(row.bare, commitments).equals(twin.leaf) &&
        isDeepStrictEqual(commitments, twin.commitments) &&
        digestBytes(row.inPlace.leaf).equals(twin.leaf) &&
        isDeepStrictEqual(hashEvent(row), row.inPlace) &&
        timestampText(row.timestamp) === twin.at &&
        opens('actor', row.actorSalt, row.actor) &&
        opens('payload', row.payloadSalt, row.payload)
      );
    }
  }, 600_000);
});

const copyOf = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes));

/** What SQL makes of each row. */
const SQL_ENTRIES: TupleSource<{ id: Buffer; entry: Buffer; leaf: Buffer; at: string }> = {
  statement: `copy (select s.id, audit.event_entry(e), audit.event_leaf(e),
                           to_char(s.event_timestamp, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                      from public.sample s cross join lateral (select row(s.*)::audit.audit_log as e offset 0) t)
              to stdout (format binary)`,
  fieldCount: 4,
  decode: (tuple) => ({
    id: tuple.bytes(0),
    entry: tuple.bytes(1),
    leaf: tuple.bytes(2),
    at: tuple.bytes(3).toString(),
  }),
};

/** Rows with every edge of the format: NULLs, Unicode, microseconds, years 1 and 9999, empty arrays, number forms. */
const RANDOM_ROWS = `
  insert into public.sample (id, event_type, event_category, event_action, user_id, user_email, user_roles, session_id,
    ip_address, user_agent, request_id, correlation_id, resource_type, resource_id, resource_path, old_values, new_values,
    security_classification, data_sensitivity, result, error_message, event_timestamp, server_name, service_name, version,
    additional_data, actor_envelope, payload_envelope, actor_salt, payload_salt)
  select gen_random_uuid(), coalesce(t[1 + i % 7], 'T'), 'system', coalesce(t[1 + i % 5], 'X'),
         case when i % 3 = 0 then gen_random_uuid() end, t[1 + i % 8], r[1 + i % 5]::text[], case when i % 4 = 0 then gen_random_uuid() end,
         a[1 + i % 6]::inet, t[1 + (i / 3) % 8], case when i % 2 = 0 then gen_random_uuid() end, case when i % 5 = 0 then gen_random_uuid() end,
         t[1 + (i / 7) % 8], t[1 + (i / 2) % 8], t[1 + (i / 5) % 8], j[1 + i % 9]::jsonb, j[1 + (i / 9) % 9]::jsonb,
         t[1 + (i / 11) % 8], 'normal', case when i % 6 > 0 then 'success' end, t[1 + (i / 4) % 8], d[1 + i % 8]::timestamptz
           + case when i % 8 > 1 then (random() * 1e12)::bigint * interval '1 microsecond' else interval '0' end,
         t[1 + (i / 6) % 8], t[1 + (i / 13) % 8], t[1 + (i / 17) % 8], j[1 + (i / 3) % 9]::jsonb,
         t[1 + (i / 19) % 8], t[1 + (i / 23) % 8],
         case when i % 10 > 0 then public.gen_random_bytes(16) end, case when i % 11 > 0 then public.gen_random_bytes(16) end
    from generate_series(0, $1::int - 1) i,
         (select array['plain', '', 'Zürich ☃ 漢字', E'tab\\tnl\\n\\\\', '𝒳 e\u0301', 'a"b''c', '{x,y}', null] as t,
                 array['{}', null, '{admin}', '{"a b",NULL,"ü"}', '{{1,2},{3,4}}'] as r,
                 array['10.0.0.1', '10.0.0.0/8', '::1', '2001:db8::/32', null, '192.168.1.5/24'] as a,
                 array['{"n": 1.0}', '{"n": 1.00}', '1e2', '[]', '{}', 'null', '"\\u00e9"', null, '{"b": 1, "a": [1, -0.0, 12345678901234567890.123]}'] as j,
                 array['0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999+00', '1969-12-31 23:59:59.999999+00',
                       '1999-12-31 23:59:59.999999+00', '2000-01-01 00:00:00+00', '2026-03-15 12:00:00.123456+00',
                       '1582-10-10 00:00:00.5+00', '9000-06-01 00:00:00.000001+00'] as d) v`;
