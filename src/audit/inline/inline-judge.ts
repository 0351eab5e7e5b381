/**
 * Chains whose hashes are in the rows themselves (docs/spec/audit-event-v1.md, section 9). Clean ones are seen by
 * degrees alone; only what is off is walked, to name it. Pure; memory is one entry a row, since the profile is for low
 * volume.
 */
import { type Finding, type FindingClass, finding } from '../links/finding.ts';

const GENESIS = '0'.repeat(64);

/** A row with at least one of its own hash columns filled; hashes in hex. */
export interface InlineRow {
  readonly eventId: string;
  readonly partition: string;
  readonly hash: string | null;
  readonly previous: string | null;
  /** SHA-256(0x03 || previous || leaf) of the row as it lies there. */
  readonly computed: string | null;
}

export interface InlineSegment {
  readonly genesis: string;
  readonly head: string;
  readonly size: number;
}

export interface InlineJudgement {
  readonly findings: readonly Finding[];
  /** The events that belong to a segment: their hash columns are filled rightfully. */
  readonly members: ReadonlySet<string>;
}

/** Judges every row with hash columns against the declared segments. */
export function judgeInline(rows: readonly InlineRow[], segments: readonly InlineSegment[]): InlineJudgement {
  const links = new Links(rows);
  const members = new Set<InlineRow>();
  const findings: Finding[] = [];
  for (const segment of segments) findings.push(...judgeSegment(links, segment, members));
  for (const row of members) {
    if (row.computed !== row.hash) findings.push(found('modified', row, row.hash, row.computed));
  }
  const strangers = rows.filter((row) => !members.has(row));
  const heads = new Set(segments.map((segment) => segment.head));
  for (const row of strangers) findings.push(judgeStranger(row, links, members, heads));
  return { findings, members: new Set([...members].map((row) => row.eventId)) };
}

class Links {
  readonly byHash: ReadonlyMap<string | null, InlineRow[]>;
  readonly byPrevious: ReadonlyMap<string | null, InlineRow[]>;

  constructor(rows: readonly InlineRow[]) {
    this.byHash = Map.groupBy(rows, (row) => row.hash);
    this.byPrevious = Map.groupBy(rows, (row) => row.previous);
  }

  /** The rows from the one with this hash back to where their predecessor is missing. */
  back(hash: string): InlineRow[] {
    const rows = new Set<InlineRow>();
    for (let at = this.byHash.get(hash)?.[0]; at !== undefined && !rows.has(at); ) {
      rows.add(at);
      at = at.previous === null ? undefined : this.byHash.get(at.previous)?.[0];
    }
    return [...rows];
  }

  /** The rows from this one on, as long as exactly one follows. */
  forth(first: InlineRow | undefined): InlineRow[] {
    const rows = new Set<InlineRow>();
    for (let at = first; at !== undefined && !rows.has(at); ) {
      rows.add(at);
      const next: InlineRow[] = this.byPrevious.get(at.hash) ?? [];
      at = at.hash !== null && next.length === 1 ? next[0] : undefined;
    }
    return [...rows];
  }
}

/** Marks the rows of a segment and names what is missing or was hashed anew in its middle. */
function judgeSegment(links: Links, segment: InlineSegment, members: Set<InlineRow>): Finding[] {
  const tail = links.back(segment.head);
  for (const row of tail) members.add(row);
  const last = tail.at(-1);
  if (last?.hash === segment.genesis && last.previous === GENESIS) return [];
  const genesis = links.byHash.get(segment.genesis)?.[0];
  const front = links.forth(genesis ?? (links.byPrevious.get(GENESIS) ?? []).find((row) => !members.has(row)));
  for (const row of front) members.add(row);
  const broken = front.at(-1);
  // All rows are there, so the one at the break was given another hash; otherwise rows are gone from the break.
  if (broken !== undefined && front.length + tail.length === segment.size) {
    return [found('rehashed', broken, last?.previous ?? segment.head, broken.hash)];
  }
  if (last === undefined) return [finding('truncated', { expected: segment.head, actual: broken?.hash ?? 'none' })];
  if (broken === undefined) return [found('head-cut', last, segment.genesis, 'no genesis')];
  return [found('deleted', last, last.previous, 'the event before this one is gone')];
}

function judgeStranger(row: InlineRow, links: Links, members: Set<InlineRow>, heads: Set<string>): Finding {
  if (row.hash === null || row.previous === null || row.computed !== row.hash) {
    const closed = row.hash !== null && row.previous !== null && links.back(row.previous).includes(row);
    return found(
      closed ? 'reordered' : 'rehashed',
      row,
      row.computed,
      closed ? 'a cycle' : (row.hash ?? 'half filled'),
    );
  }
  if (row.previous === GENESIS) return found('forked', row, 'one genesis', 'second genesis');
  const before = links.byHash.get(row.previous)?.[0];
  if (before === undefined) return found('inserted', row, 'a predecessor', 'orphan');
  if (!members.has(before)) return found('forked', row, 'a segment', 'follows an event of none');
  return heads.has(row.previous)
    ? found('inserted', row, 'the end of the segment', 'beyond the head')
    : found('forked', row, 'one successor', 'fork');
}

function found(kind: FindingClass, row: InlineRow, expected: string | null, actual: string | null): Finding {
  return finding(kind, { eventId: row.eventId, partition: row.partition, expected, actual });
}
