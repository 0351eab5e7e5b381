/** Verifies links [from, to) and their events, looked up by key: the work is that of the range, however long the chain is. */
import type { SqlClient } from '../../db/database.ts';
import { uuidText } from '../copy/pg-time.ts';
import { readTuples } from '../copy/tuples.ts';
import type { EventRow } from '../event/event-source.ts';
import { type Finding, finding } from '../links/finding.ts';
import { LinkWalk, type WalkedHead } from '../links/link-walk.ts';
import {
  eventsWithIdsSource,
  rangeEventSource,
  rangeLinkSource,
  readDoubledIn,
  type SeqRange,
} from '../links/range-store.ts';
import { type Circumstances, type JudgedLink, type Judgement, judgeEvent } from '../scan/judge.ts';
import { judgeMissing, readRangeCircumstances } from './event-compare.ts';
import { explainPurged } from './purged-places.ts';
import type { Verifying, VerifyRun } from './verify-run.ts';

/** Links that are held at once. */
const STEP = 5000n;

export interface RangeOutcome {
  readonly walk: LinkWalk;
  /** Events whose leaf was recomputed. */
  readonly checked: number;
  readonly erased: number;
  /** Links whose events were destroyed under a certificate. */
  readonly purged: number;
  readonly findings: readonly Finding[];
}

/**
 * @param start where the range begins: its size is range.from
 * @param sizes tree sizes whose roots the walk shall keep
 */
export async function verifyRange(
  ctx: Pick<Verifying, 'progress'>,
  client: SqlClient,
  run: VerifyRun,
  input: { readonly range: SeqRange; readonly start: WalkedHead; readonly sizes: readonly bigint[] },
): Promise<RangeOutcome> {
  const { from, to } = input.range;
  const walk = new LinkWalk(input.sizes, input.start);
  const known = await readRangeCircumstances(client, run);
  const judged: Judgement[] = [];
  let checked = 0;
  ctx.progress.start('events', Number(to - from));
  for (let at = from; at < to; at += STEP) {
    const step = { from: at, to: at + STEP < to ? at + STEP : to };
    const links = await readAll(client, rangeLinkSource(step));
    walk.push(links);
    const rows = await readAll(client, rangeEventSource(step));
    checked += rows.length;
    judged.push(...(await judgeStep(client, links, rows, known)));
    ctx.progress.update(Number(step.to - from));
  }
  ctx.progress.stop();
  const events = judged.flatMap((verdict) => (verdict.kind === 'found' ? [verdict.finding] : []));
  const missing = judged.filter((verdict) => verdict.kind === 'missing');
  const destroyed = await explainPurged(client, missing, run.publicKey);
  events.push(...destroyed.findings, ...judgeMissing(destroyed.unexplained, run.head.size));
  events.push(...(await doubledIn(client, input.range, events)));
  const named = new Set(events.map((found) => found.seq));
  const chain = walk.finishAt(to).filter((found) => found.class !== 'reordered' || !named.has(found.seq));
  const erased = judged.filter((verdict) => verdict.kind === 'erased').length;
  return { walk, checked, erased, purged: destroyed.purged, findings: [...events, ...chain] };
}

/** Judges the links of a step; only what is not sound. */
async function judgeStep(
  client: SqlClient,
  links: readonly JudgedLink[],
  rows: readonly EventRow[],
  known: Circumstances,
): Promise<Judgement[]> {
  const found = byId(rows);
  const lost = links.filter((link) => !found.has(uuidText(link.eventId)));
  // Not where its link says: its time may have been changed.
  if (lost.length > 0) {
    const elsewhere = await readAll(client, eventsWithIdsSource(lost.map((link) => link.eventId)));
    for (const [id, moved] of byId(elsewhere)) found.set(id, moved);
  }
  return links
    .map((link) => judgeEvent({ links: [link], rows: found.get(uuidText(link.eventId)) ?? [] }, known))
    .filter((verdict) => verdict.kind !== 'sound');
}

function byId(rows: readonly EventRow[]): Map<string, EventRow[]> {
  const found = new Map<string, EventRow[]>();
  for (const row of rows) {
    const id = uuidText(row.id);
    const same = found.get(id);
    if (same === undefined) found.set(id, [row]);
    else same.push(row);
  }
  return found;
}

async function doubledIn(client: SqlClient, range: SeqRange, known: readonly Finding[]): Promise<Finding[]> {
  const named = new Set(known.filter((found) => found.class === 'doubled').map((found) => found.eventId));
  const doubled = await readDoubledIn(client, range);
  return doubled
    .filter((row) => !named.has(row.event_id))
    .map(({ event_id: eventId, links, seq }) =>
      finding('doubled', { seq: Number(seq), eventId, expected: '1 link', actual: `${links} links` }),
    );
}

/** Every row of a source that is known to be small. */
export async function readAll<T>(client: SqlClient, source: Parameters<typeof readTuples<T>>[1]): Promise<T[]> {
  const rows: T[] = [];
  for await (const slab of readTuples(client, source)) rows.push(...slab);
  return rows;
}
