import { readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { type Distributed, distributeReport, openBundle } from '../../src/reports/bundle/distribute.ts';
import type { Roster } from '../persons/roster.ts';
import type { TestContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { approveBundle, partText } from './approved-bundle.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
let reportId: string;
let zip: Buffer;
let identity: string;
let identityFile: string;
let sent: Distributed;

beforeAll(async () => {
  ({ ctx, roster, folder, reportId, zip } = await approveBundle(db));
  identity = await generateIdentity();
  identityFile = join(folder, 'identity.txt');
  await writeFile(identityFile, `# made for a test\n${identity}\n`);
  sent = await send(identity);
});

async function send(to: string, outDir = join(folder, 'out')): Promise<Distributed> {
  return distributeReport(roster.as(ctx, 'approver'), {
    reportId,
    recipient: 'auditor@example.com',
    ageRecipient: await identityToRecipient(to),
    purpose: 'annual audit',
    outDir,
  });
}

const textOf = (name: string) => partText(zip, name);

describe('distribution', () => {
  test('it is logged, the recipient is appended, the time is set once', async () => {
    const read = () =>
      db.engine.withClient(async (client) => ({
        report: await queryOne(
          client,
          z.object({ recipients: z.array(z.string()), distributed_at: z.string() }),
          'select recipients, distributed_at from audit.compliance_reports where id = $1::uuid',
          [reportId],
        ),
        log: await queryRows(
          client,
          z.object({ recipient: z.string(), purpose: z.string(), sha256: z.string(), email: z.string() }),
          `select d.recipient, d.purpose, d.sha256, p.email from compliance.distribution d
             join compliance.person p on p.id = d.distributed_by where d.report_id = $1::uuid order by d.distributed_at`,
          [reportId],
        ),
      }));
    const first = await read();
    expect(first.report.recipients).toEqual(['auditor@example.com']);
    expect(first.log[0]).toEqual({
      recipient: 'auditor@example.com',
      purpose: 'annual audit',
      sha256: sent.sha256,
      email: 'approver@example.org',
    });
    const again = await send(await generateIdentity());
    const second = await read();
    expect(second.report).toEqual(first.report);
    expect(second.log.map((entry) => entry.sha256)).toEqual([sent.sha256, again.sha256]);
    expect(again.bundleSha256).toBe(sent.bundleSha256);
  });

  test('a file has its name only once it is in the log; what a crash left is settled by the log', async () => {
    const outDir = dirname(sent.path);
    await rename(sent.path, `${sent.path}.part`);
    const never = join(outDir, `report-${reportId}-00000000.zip.age.part`);
    const young = join(outDir, `report-${reportId}-11111111.zip.age.part`);
    for (const path of [never, young]) await writeFile(path, path);
    const hours = (n: number) => new Date(ctx.clock.now() - n * 3_600_000);
    await utimes(never, hours(2), hours(2));
    await utimes(young, hours(0.5), hours(0.5));
    const other = await send(identity);
    const left = await readdir(outDir);
    expect(left).toEqual(expect.arrayContaining([sent.path, other.path, young].map((path) => basename(path))));
    expect(left.filter((name) => name.endsWith('.part'))).toEqual([basename(young)]);
    await rm(young);
  });

  test('a connection lost at the commit leaves a part, neither a file nor nothing', async () => {
    const outDir = join(folder, 'lost');
    await db.admin.withClient((client) =>
      client.query(`create function compliance.cut() returns trigger language plpgsql as
        'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
        create constraint trigger cut after insert on compliance.distribution deferrable initially deferred
          for each row execute function compliance.cut();
        alter function compliance.cut() security definer`),
    );
    const lost = send(identity, outDir);
    await expect(lost).rejects.toThrow();
    expect((await readdir(outDir)).map((name) => name.replace(/-[0-9a-f]{8}\./, '-N.'))).toEqual([
      `report-${reportId}-N.zip.age.part`,
    ]);
    await db.admin.withClient((client) => client.query('drop function compliance.cut() cascade'));
    const after = await send(identity, outDir);
    // The part may be that of somebody who is still at work.
    expect((await readdir(outDir)).filter((name) => name.endsWith('.age'))).toEqual([basename(after.path)]);
  });

  test('the recipient opens it, nobody else does', async () => {
    const outDir = join(folder, 'opened');
    const check = await openBundle({ file: sent.path, identityFile, signersFile: null, outDir });
    expect(check).toMatchObject({ outcome: 'incomplete', findings: [], reportId });
    expect(await readFile(join(outDir, 'model.json'), 'utf8')).toBe(textOf('model.json'));
    await expect(openBundle({ file: sent.path, identityFile, signersFile: null, outDir })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    });
    const strange = join(folder, 'strange.txt');
    await writeFile(strange, await generateIdentity());
    for (const wrong of [strange, null]) {
      const opened = openBundle({
        file: sent.path,
        identityFile: wrong,
        signersFile: null,
        outDir: join(folder, 'no'),
      });
      await expect(opened).rejects.toMatchObject({ code: 'BUNDLE_IDENTITY' });
    }
  });

  test('a flipped byte of the encrypted file is found and nothing is unpacked', async () => {
    const whole = await readFile(sent.path);
    const path = join(folder, 'flipped.age');
    for (const at of [300, Math.floor(whole.length / 2), whole.length - 1]) {
      const flipped = Buffer.from(whole);
      flipped[at] = (flipped[at] ?? 0) ^ 1;
      await writeFile(path, flipped);
      const outDir = join(folder, 'flipped');
      const opened = openBundle({ file: path, identityFile, signersFile: null, outDir });
      await expect(opened).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
      await expect(readdir(outDir)).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  test('nobody distributes in the name of another', async () => {
    const input = {
      reportId,
      recipient: 'x',
      ageRecipient: await identityToRecipient(identity),
      purpose: 'y',
      outDir: join(folder, 'borrowed'),
    };
    const as = (keyFile: string | null) => ({
      ...ctx,
      actor: { kind: 'person', email: 'approver@example.org', keyFile } as const,
    });
    await expect(distributeReport(as(null), input)).rejects.toMatchObject({ code: 'USAGE' });
    const borrowed = distributeReport(as(roster.keyFile('reviewer')), input);
    await expect(borrowed).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
  });

  test('a recipient that is no age key, and a person without a role, are refused and leave no file', async () => {
    const outDir = join(folder, 'refused');
    const input = { reportId, recipient: 'x', ageRecipient: 'age1nonsense', purpose: 'y', outDir };
    await expect(distributeReport(roster.as(ctx, 'approver'), input)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    const real = { ...input, ageRecipient: await identityToRecipient(identity) };
    await expect(distributeReport(roster.as(ctx, 'officer1'), real)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    expect(await readdir(outDir)).toEqual([]);
  });
});
