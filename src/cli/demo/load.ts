/** Fills the demo's database: real files where a folder is given, made-up records of five years otherwise. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SERVICE_NAME } from '../../audit/record/record.ts';
import type { Context } from '../../context.ts';
import { queryOne } from '../../db/query.ts';
import { AuditkeepError } from '../../errors.ts';
import { importGenerated } from '../../import/generated.ts';
import { importCloudtrail, importEthereum } from '../../import/import.ts';
import type { ImportReport } from '../../import/report.ts';
import { countOf } from '../../plural.ts';
import { parseInstant } from '../../time/clock.ts';
import { lastEndedQuarter } from '../../time/report-period.ts';
import type { Stage } from './stage.ts';

const SEED = 1;

/** @throws INPUT_FILE when the folder holds neither a cloudtrail nor an ethereum folder; those of the imports */
export async function loadRecords(stage: Stage, dataFolder: string | null): Promise<ImportReport[]> {
  const reports = dataFolder === null ? await generate(stage) : await importFolder(stage, dataFolder);
  for (const { kind, files, imported, duplicates, late, rejected } of reports) {
    const source = dataFolder === null ? 'made up' : countOf(files, 'file');
    stage.say(
      `  ${kind} (${source}): ${imported} imported, ${duplicates} known already, ${late} late, ${rejected} rejected`,
    );
  }
  return reports;
}

async function generate({ ctx }: Stage): Promise<ImportReport[]> {
  const { events, transactions } = await importGenerated(ctx, { seed: SEED });
  return [events, transactions];
}

async function importFolder({ ctx }: Stage, folder: string): Promise<ImportReport[]> {
  const cloudtrail = join(folder, 'cloudtrail');
  const ethereum = join(folder, 'ethereum');
  const found = { cloudtrail: await isFolder(cloudtrail), ethereum: await isFolder(ethereum) };
  if (!found.cloudtrail && !found.ethereum) {
    throw new AuditkeepError('INPUT_FILE', {
      message: 'the data folder holds neither a folder cloudtrail nor a folder ethereum',
      hint: 'give the folder above them with --data, or leave --data out for made-up records',
    });
  }
  return [
    ...(found.cloudtrail ? [await importCloudtrail(ctx, { paths: [cloudtrail] })] : []),
    ...(found.ethereum ? [await importEthereum(ctx, { paths: [ethereum] })] : []),
  ];
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** The quarter of the newest imported event, or the last one that has ended: `2023-Q3`. */
export async function chooseQuarter(ctx: Pick<Context, 'db' | 'clock'>): Promise<string> {
  const newest = await ctx.db.withClient((client) =>
    queryOne(
      client,
      z.object({ at: z.string().nullable() }),
      `select max(event_timestamp)::text as at from audit.audit_log_all where service_name is distinct from $1::text`,
      [SERVICE_NAME],
    ),
  );
  const at = newest.at === null ? null : parseInstant(newest.at);
  return lastEndedQuarter(at ?? ctx.clock.now(), ctx.clock.now());
}
