/** The files beside a report's model: what is in them, who may write them, and what is noticed. */
import { createHmac } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openDatabase } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { openRehearsal } from '../../src/db/rehearsal.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { evaluateControls } from '../../src/reports/evaluate/evaluate.ts';
import {
  type EvidenceSink,
  HASH_ONLY,
  openEvidenceFiles,
  readEvidence,
} from '../../src/reports/evidence/evidence-file.ts';
import { type GeneratedReport, generateReport } from '../../src/reports/generate/generate.ts';
import type { EvidenceModel } from '../../src/reports/model/control-model.ts';
import { sha256Hex } from '../../src/reports/model/model.ts';
import { makePseudonymizer } from '../../src/reports/model/pseudonym.ts';
import { evidenceOf, readReport } from '../../src/reports/model/read.ts';
import { loadTemplates } from '../../src/reports/template/template.ts';
import { parseReportPeriod } from '../../src/time/report-period.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { runAll } from './control-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
let report: GeneratedReport;
let file: EvidenceModel;

beforeAll(async () => {
  ctx = await testContext(db);
  // Tokens that outlived their end, each an exception of AC-07: enough for several chunks.
  await runAll(db.admin, [
    `insert into security_confidential.users (id, username, email, password_hash, password_salt, account_status)
     select ('10000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'user' || n, 'user' || n || '@example.org', 'h', 's', 'active'
       from generate_series(1, 7) n`,
    `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
     select ('10000000-0000-4000-8000-' || lpad((n % 7 + 1)::text, 12, '0'))::uuid, 'many', '2025-01-01', '2025-01-02'
       from generate_series(1, 4000) n`,
  ]);
  report = await generateReport(ctx, { framework: 'iso-27001', period: '2026-02' });
  const control = report.model.controls.find(({ id }) => id === 'ac-07');
  if (control?.exceptions.evidence == null) throw new Error('AC-07 has no evidence');
  file = control.exceptions.evidence;
});

async function read(wanted: EvidenceModel = file, reportId: string = report.id): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of readEvidence(ctx, reportId, wanted)) pieces.push(piece);
  return Buffer.concat(pieces);
}

describe('exceptions.csv', () => {
  it('has every exception, with pseudonyms, in the order of its lines, and what the model says of it', async () => {
    const bytes = await read();
    expect([bytes.length, sha256Hex(bytes)]).toEqual([file.bytes, file.sha256]);
    const [header, ...lines] = bytes.toString('utf8').split('\r\n');
    expect(lines.pop()).toBe('');
    expect(header).toBe(file.columns.join(','));
    expect([lines.length, file.rows]).toEqual([4000, 4000]);
    expect(lines).toEqual([...lines].sort());
    expect(bytes.toString('utf8')).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}/);
    const ac07 = report.model.controls.find(({ id }) => id === 'ac-07');
    const shown = ac07?.exceptions.rows.map((row) => row[0]);
    expect(shown).toEqual(lines.slice(0, 100).map((line) => line.slice(1, line.indexOf('"', 1))));
    expect(ac07?.ipe.resultSha256).toBe(file.sha256);
  });

  it('is there for every control that found something, and no other', () => {
    const found = report.model.controls.filter(({ exceptions }) => (exceptions.count ?? 0) > 0).map(({ id }) => id);
    const paths = evidenceOf(report.model).map(({ path }) => path);
    expect(paths.filter((path) => path.endsWith('exceptions.csv'))).toEqual(
      found.map((id) => `evidence/${id}/exceptions.csv`),
    );
    expect(found).toContain('ac-07');
  });

  it('is stored as envelopes only', async () => {
    const stored = await db.admin.withClient((client) =>
      queryOne(
        client,
        z.object({ chunks: z.bigint(), sealed: z.bigint() }),
        `select count(*) as chunks, count(*) filter (where envelope like 'ak1.%' and envelope not like '%P-%,%') as sealed
           from compliance.report_file where report_id = $1::uuid and path = $2`,
        [report.id, file.path],
      ),
    );
    expect(stored).toEqual({ chunks: BigInt(Math.ceil(file.bytes / 262_144)), sealed: stored.chunks });
    expect(stored.chunks).toBeGreaterThan(1n);
  });

  it('is not added to, changed or written by the engine later', async () => {
    const add = (path: string, first: number) =>
      inTransaction(db.engine, (client) =>
        execute(client, `select compliance.add_report_file($1::uuid, $2, $3::integer, array['ak1.x'])`, [
          report.id,
          path,
          first,
        ]),
      );
    await expect(add('evidence/ac-01/exceptions.csv', 0)).rejects.toMatchObject({ code: 'AK002' });
    await expect(add(file.path, 2)).rejects.toMatchObject({ code: 'AK002' });
    const direct = `insert into compliance.report_file values ($1, 'evidence/ac-01/exceptions.csv', 0, 'ak1.x')`;
    for (const database of [db.engine, db.report]) {
      await expect(database.withClient((client) => client.query(direct, [report.id]))).rejects.toMatchObject({
        code: 'DB_PRIVILEGE',
      });
    }
    const owner = db.as('auditkeep_owner');
    for (const change of ['delete from compliance.report_file', 'truncate compliance.report_file']) {
      await expect(owner.withClient((client) => client.query(change))).rejects.toMatchObject({ code: 'AK013' });
    }
  });

  it('is tried by a dry run, which leaves nothing', async () => {
    const rehearsal = openRehearsal(openDatabase({ url: db.url('auditkeep_engine'), applicationName: 'test' }));
    const keys = openKeyring({ db: rehearsal, clock: ctx.clock, home: ctx.config.home, actor: ctx.actor });
    const tried = await generateReport({ ...ctx, db: rehearsal, keys }, { framework: 'iso-27001', period: '2026-02' });
    await rehearsal.end();
    expect(evidenceOf(tried.model).map(({ path }) => path)).toContain(file.path);
    await expect(readReport(ctx, tried.id)).rejects.toMatchObject({ code: 'REPORT_NOT_FOUND' });
  });
});

describe('sample.csv', () => {
  const sampleOf = (id: string) => {
    const sample = report.model.controls.find((control) => control.id === id)?.ipe.sample;
    if (sample == null) throw new Error(`${id} has no sample`);
    return sample;
  };
  const tokens = async () => {
    const shape = z.object({ id: z.string() });
    const rows = await db.admin.withClient((client) =>
      queryRows(client, shape, 'select id::text from security_internal.jwt_tokens'),
    );
    return rows.map(({ id }) => id);
  };
  const pseudonymizer = async () => makePseudonymizer((await ctx.keys.secret('report-pseudonym')).key, report.id);

  it('has the keys that the seed draws, as pseudonyms, in an order that says nothing', async () => {
    const { seed, keys, size, evidence, reread } = sampleOf('ac-07');
    expect(seed).toMatch(/^[0-9a-f]{64}$/);
    // RFC 2104, by another implementation than the database's.
    const rank = (key: string) => createHmac('sha256', Buffer.from(seed, 'hex')).update(key).digest('hex');
    const drawn = (await tokens()).sort((a, b) => (rank(a) < rank(b) ? -1 : 1)).slice(0, 25);
    const expected = drawn.map(await pseudonymizer()).sort();
    expect([size, keys]).toEqual([25, expected]);
    expect(reread).toMatchObject({ missing: [] });
    if (evidence === null) throw new Error('the sample has no file');
    const text = (await read(evidence)).toString('utf8');
    expect(text).toBe(`token_id\r\n${expected.map((key) => `"${key}"\r\n`).join('')}`);
    expect(evidence).toMatchObject({ path: 'evidence/ac-07/sample.csv', rows: 25, columns: ['token_id'] });
  });

  it('shows keys that lead to no person as they are, and is not there for an empty population', () => {
    expect(sampleOf('lg-03').keys.every((key) => /^\d+$/.test(key))).toBe(true);
    expect(sampleOf('ac-08')).toMatchObject({ keys: [], evidence: null, reread: { missing: [] } });
  });

  it('is the same for the seed that an auditor gives, and of the size of the template', async () => {
    const evaluate = async (seed: string, size: number | null) => {
      const { results } = await evaluateOne(seed, size);
      return results[0]?.result.kind === 'evaluated' ? results[0].result.sample.keys : [];
    };
    const [short, long] = ['00112233445566778899aabbccddeeff', 'ab'.repeat(64)];
    const first = await evaluate(short, null);
    expect(await evaluate(short, null)).toEqual(first);
    expect(await evaluate(long, null)).not.toEqual(first);
    expect((await evaluate(short, 3)).length).toBe(3);
    expect(new Set(first)).toEqual(new Set([...first, ...(await evaluate(short, 3))]));
  });

  it.each([['12'], ['xyz'], ['a'.repeat(33)], ['ab'.repeat(65)]])('is refused with the seed %s', async (sampleSeed) => {
    const refused = generateReport(ctx, { framework: 'iso-27001', period: '2026-02', sampleSeed });
    await expect(refused).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  it('says which keys were not found again', async () => {
    // Between the snapshot and the second look, while the first control's file is written.
    const rank = (key: string) => createHmac('sha256', Buffer.alloc(16)).update(key).digest('hex');
    const [gone = ''] = (await tokens()).sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
    let isFirst = true;
    const taking: EvidenceSink = {
      maxBytes: 1e9,
      async write(path, pieces) {
        if (isFirst) {
          isFirst = false;
          await runAll(db.admin, [
            `update security_internal.jwt_tokens set is_active = (id <> '${gone}')`,
            `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
             select '10000000-0000-4000-8000-000000000001', 'late', '2025-01-01', '2025-01-02' from generate_series(1, 5)`,
          ]);
        }
        return HASH_ONLY.write(path, pieces);
      },
    };
    const { results } = await evaluateOne('00'.repeat(16), null, taking);
    const evaluated = results.map(({ result }) => (result.kind === 'evaluated' ? result : null));
    // Both controls saw the snapshot and not what came while they ran.
    for (const result of evaluated) {
      expect([result?.population, result?.independent, result?.exceptions.count]).toEqual([4000, 4000, 4000]);
      expect(result?.sample.keys).toContain(`P(${gone})`);
      expect(result?.sample.reread?.missing).toEqual([`P(${gone})`]);
    }
    expect(await tokens()).toHaveLength(4005);
  });
});

/** AC-07 twice. */
async function evaluateOne(sampleSeed: string, size: number | null, evidence: EvidenceSink = HASH_ONLY) {
  const { controls } = await loadTemplates();
  const found = controls.get('ac-07');
  if (found === undefined) throw new Error('no control ac-07');
  const sized = { type: 'integer' as const, default: size ?? 1, min: 1, max: 1000, unit: 'keys', meaning: 'sampled' };
  const template = {
    ...found,
    parameters: size === null ? found.parameters : { ...found.parameters, sample_size: sized },
  };
  const period = parseReportPeriod('2026-02', { now: ctx.clock.now() });
  const pseudonymize = (value: string) => `P(${value})`;
  return evaluateControls(ctx, { controls: [template, template], period, pseudonymize, evidence, sampleSeed });
}

describe('more than a bundle takes', () => {
  it.each([
    ['of one control', 0.5],
    ['of several', 2.5],
  ])('is refused: %s', async (_what, files) => {
    const evidence = openEvidenceFiles(file.bytes * files);
    const { controls } = await loadTemplates();
    const template = controls.get('ac-07');
    if (template === undefined) throw new Error('no control ac-07');
    const period = parseReportPeriod('2026-02', { now: ctx.clock.now() });
    const input = {
      controls: [template, template, template],
      period,
      pseudonymize: () => 'P-0123456789ABCDEF',
      evidence,
    };
    await expect(evaluateControls(ctx, input)).rejects.toMatchObject({ code: 'REPORT_TOO_LARGE' });
    await evidence.close();
  });
});

describe('a file that was changed in the database', () => {
  const forge = async (statement: string, values: readonly string[] = [report.id, file.path]) => {
    await inTransaction(db.admin, async (client) => {
      await client.query(`set local session_replication_role = 'replica'`);
      await client.query('alter table compliance.report_file disable trigger append_only');
      await execute(client, statement, values);
      await client.query('alter table compliance.report_file enable always trigger append_only');
    });
  };

  it('does not open where two chunks changed places', async () => {
    const swap = `update compliance.report_file f set envelope = o.envelope from compliance.report_file o
       where f.report_id = $1::uuid and o.report_id = f.report_id and f.path = $2 and o.path = f.path
         and (f.chunk, o.chunk) in ((0, 1), (1, 0))`;
    await forge(swap);
    await expect(read()).rejects.toMatchObject({ code: 'CONTEXT_MISMATCH' });
    await forge(swap);
    await read();
  });

  it('is found where a chunk is gone', async () => {
    await forge(`delete from compliance.report_file where report_id = $1::uuid and path = $2 and chunk = 1`);
    await expect(read()).rejects.toMatchObject({ code: 'REPORT_TAMPERED' });
  });
});
