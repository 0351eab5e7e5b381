/** `chain verify` as a process on a tampered database: each level says what it found to whoever started it, and to the log. */
import { beforeAll, expect, it } from 'vitest';
import { type FindingClass, VERIFY_LEVELS, type VerifyLevel } from '../../src/audit/links/finding.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { type Ended, PRODUCT, startCli } from '../cli/process.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
/** Short, so that rolling verification walks at most one link a part: what it finds is found by its sweep. */
const EXPECTED: Readonly<Record<VerifyLevel, readonly FindingClass[]>> = {
  head: ['truncated'],
  incremental: ['modified', 'truncated'],
  rolling: ['inserted', 'truncated'],
  full: ['inserted', 'modified', 'truncated'],
};

beforeAll(async () => {
  ctx = await testContext(db);
  await addEvents(db.engine, 20);
  await sealChain(ctx);
  await signCheckpoint(ctx);
});

const verify = (level: VerifyLevel): Promise<Ended> => {
  const env = { DATABASE_URL: db.url(), AUDITKEEP_HOME: ctx.config.home };
  return startCli(['chain', 'verify', '--level', level, '--json'], env, { entry: PRODUCT }).ended;
};

it('all levels at once: exit code 3, the findings, a line in the log, an event of the chain, the security log', async () => {
  await tamper(
    db.admin,
    "update audit.audit_log set event_type = 'x' where event_action = 'ACTION-3'",
    `insert into audit.audit_log (event_type, event_category, event_action, txid, resource_type)
     values ('x', 'system', 'SMUGGLED', 3, 'thing')`,
    'delete from audit.chain_link where seq = (select max(seq) from audit.chain_link)',
  );
  const runs = await Promise.all(VERIFY_LEVELS.map(async (level) => ({ level, ended: await verify(level) })));
  for (const { level, ended } of runs) {
    expect({ level, code: ended.code }).toEqual({ level, code: 3 });
    const result = JSON.parse(ended.stdout) as { findings: { class: FindingClass }[] };
    expect(result).toMatchObject({ level, intact: false });
    const classes = [...new Set(result.findings.map((found) => found.class))].sort();
    // The one part that rolling verification draws may hold the modified event too.
    expect(level === 'rolling' ? classes.filter((kind) => kind !== 'modified') : classes).toEqual(EXPECTED[level]);
    expect(ended.stderr).toContain('chain.findings');
    const told = await column(
      db.admin,
      `select f.additional_context ->> 'class' from audit.security_events_log f
         join audit.audit_log_all e on e.id = f.correlation_id
        where e.event_type = 'chain.findings' and e.result = 'failure' and e.additional_data ->> 'level' = '${level}'`,
    );
    expect([...told].sort()).toEqual(result.findings.map((found) => found.class).sort());
  }
  // Four writers at once: none undoes what another one kept.
  const { lastVerified } = await readChainStatus(ctx);
  expect(Object.keys(lastVerified)).toEqual([...VERIFY_LEVELS]);
}, 240_000);
