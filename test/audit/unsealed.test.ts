/** Events that the sealer leaves alone are found by the signer's own notes, whatever the database says of its times. */
import { expect, it } from 'vitest';
import { VERIFY_LEVELS } from '../../src/audit/links/finding.ts';
import { parseSnapshot } from '../../src/audit/links/snapshot.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { type SeenSnapshot, seenBefore, withSeen } from '../../src/audit/signer/seen-snapshots.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
const pretend = 'update audit.chain_head set sealed_at = clock_timestamp()';

it('every level names a visible event that stays unlinked while its head claims to be idle', async () => {
  const ctx = await testContext(db);
  await addEvents(db.engine, 5);
  await sealChain(ctx);
  await addEvents(db.engine, 1, 100);
  await signCheckpoint(ctx);
  await addEvents(db.engine, 1, 200);
  const [seen] = (await column(
    db.admin,
    "select id::text from audit.audit_log where event_action = 'ACTION-100'",
  )) as string[];
  for (const level of VERIFY_LEVELS) {
    await tamper(db.admin, pretend);
    expect((await verifyChain(ctx, { level })).findings).toEqual([]);
  }
  ctx.clock.advance(301_000);
  for (const level of VERIFY_LEVELS) {
    await tamper(db.admin, pretend);
    const { findings } = await verifyChain(ctx, { level });
    // The second event came after the signer had looked: nobody can say yet that it waits too long.
    expect(findings).toMatchObject([{ class: 'unsealed', eventId: seen }]);
  }
  await sealChain(ctx);
  await signCheckpoint(ctx);
  for (const level of VERIFY_LEVELS) expect((await verifyChain(ctx, { level })).findings).toEqual([]);
});

it('every level says so when the last seal lies in the future', async () => {
  const ctx = await testContext(db);
  await tamper(db.admin, "update audit.chain_head set sealed_at = clock_timestamp() + interval '1 hour'");
  for (const level of VERIFY_LEVELS) {
    const { findings } = await verifyChain(ctx, { level });
    // Beside it the records of these runs, which no sealer has come to.
    const ofHead = findings.filter((found) => found.eventId === null);
    expect(ofHead).toMatchObject([{ class: 'unsealed', expected: 'a last seal in the past' }]);
  }
});

it('a signer whose clock was set back, or whose ids began anew, forgets what it noted', () => {
  const at = (seconds: number, xmax: number): SeenSnapshot => ({
    at: seconds * 1000,
    snapshot: parseSnapshot(`${xmax}:${xmax}:`),
  });
  const seen = [at(100, 10), at(200, 20), at(300, 30)];
  expect(withSeen(seen, at(250, 40))).toEqual([at(100, 10), at(200, 20), at(250, 40)]);
  expect(withSeen(seen, at(400, 15))).toEqual([at(100, 10), at(400, 15)]);
  expect(withSeen(seen, at(305, 31))).toBe(seen);
  expect(withSeen(seen, at(3850, 90))).toEqual([at(200, 20), at(300, 30), at(3850, 90)]);
  expect(withSeen(seen, at(9000, 90))).toEqual([at(300, 30), at(9000, 90)]);
  expect(seenBefore(seen, at(500, 40), 300)?.text).toBe('20:20:');
  expect(seenBefore(seen, at(500, 15), 300)?.text).toBe('10:10:');
  expect(seenBefore(seen, at(500, 40), 500)).toBeNull();
});
