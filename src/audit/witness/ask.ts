/**
 * After a checkpoint was signed, or found signed: asks every witness, all at once, and keeps what they answered. Also
 * those that cosigned it before: a restored database has not grown yet, and its witnesses know better. Sealing and writers do not wait for this, and a witness that is missing is a warning; one that accuses the
 * log is an error once everything else is kept.
 */
import type { Context } from '../../context.ts';
import { transact } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { isoOf } from '../../time/clock.ts';
import { readTuples } from '../copy/tuples.ts';
import { leafSource } from '../links/link-source.ts';
import type { TreeHead, VerifierKey } from '../tree/checkpoint.ts';
import type { Digest } from '../tree/hash.ts';
import { appendLeaves, EMPTY_FRONTIER, type Frontier, rootOf, verifyConsistency } from '../tree/merkle.ts';
import { askWitness, type WitnessAnswer } from './client.ts';
import { openCosignature } from './cosignature.ts';
import { proveGrowth } from './growth.ts';
import { type Witness, type WitnessPolicy, witnessPolicy } from './policy.ts';
import { readWitnessMemory, type WitnessMemory, writeCosignedFile, writeWitnessMemory } from './signer-memory.ts';
import { publishCosignature } from './store.ts';

type Asking = Pick<Context, 'db' | 'log' | 'config' | 'clock'>;

/** A checkpoint as it was signed, and the tree below it by the signer's own account. */
export interface SignedTree {
  readonly note: string;
  readonly frontier: Frontier;
  readonly logKey: VerifierKey;
  readonly incarnation: number;
}

/**
 * Asks the configured witnesses. The caller holds the signer's lock. Cosignatures are verified, then durable in the
 * signer's store and directory, then in audit.cosignature.
 * @throws CHAIN_ROLLED_BACK, CHAIN_REWRITTEN when a witness says so, after the others' answers are kept;
 * CHAIN_SIGNER_STORE, CONFIG_INVALID
 */
export async function askWitnesses(ctx: Asking, tree: SignedTree): Promise<void> {
  const policy = witnessPolicy(ctx.config);
  if (policy.witnesses.length === 0) return;
  const { home } = ctx.config;
  const origin = tree.logKey.name;
  const known = await readWitnessMemory(home, origin);
  const prove = prover(ctx, tree, [...known.values()]);
  const settled = await Promise.allSettled(
    policy.witnesses.map(async (witness): Promise<[Witness, WitnessMemory]> => {
      const before = known.get(witness.vkey);
      const answer = await askWitness(witness, {
        note: tree.note,
        head: headOf(tree),
        logKey: tree.logKey,
        oldSize: before?.frontier.size ?? 0n,
        timeoutMs: policy.timeoutMs,
        prove,
      });
      reportAnswer(ctx, witness, answer);
      return [witness, remember(before, answer, tree, isoOf(ctx.clock.now()))];
    }),
  );
  const answers = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  for (const [witness, { note, frontier }] of answers) {
    if (note !== null && frontier.size === tree.frontier.size) await keepCosignature(ctx, witness, tree, note);
  }
  const memory = new Map([...known, ...answers.map(([{ vkey }, entry]) => [vkey, entry] as const)]);
  await writeWitnessMemory(home, origin, memory);
  warnBelowQuorum(ctx, policy, answers, tree);
  for (const [witness, entry] of answers) refuseAccusation(witness, entry, tree);
  // No proof could be made: the other witnesses' answers are kept by now.
  for (const result of settled) if (result.status === 'rejected') throw result.reason;
}

function headOf({ logKey, frontier }: SignedTree): TreeHead {
  return { origin: logKey.name, size: frontier.size, root: rootOf(frontier) };
}

/**
 * Proofs from any size, one at a time over one connection, each made once. From a size whose frontier the signer
 * remembers the work is O(new leaves), from any other O(all); memory stays flat.
 */
function prover(ctx: Asking, tree: SignedTree, known: readonly WitnessMemory[]) {
  const proofs = new Map<bigint, Promise<readonly Digest[]>>();
  let last: Promise<unknown> = Promise.resolve();
  return (oldSize: bigint): Promise<readonly Digest[]> => {
    const made = proofs.get(oldSize);
    if (made !== undefined) return made;
    const remembered = known.find(({ frontier }) => frontier.size === oldSize)?.frontier;
    const proof = last.catch(() => null).then(() => readProof(ctx, tree, oldSize, remembered));
    proofs.set(oldSize, proof);
    last = proof;
    return proof;
  };
}

function readProof(
  ctx: Asking,
  { frontier }: SignedTree,
  oldSize: bigint,
  remembered: Frontier | undefined,
): Promise<readonly Digest[]> {
  const { size } = frontier;
  if (oldSize === 0n || oldSize === size) return Promise.resolve([]);
  return ctx.db.withClient((client) =>
    transact(
      client,
      async () => {
        let old = remembered ?? EMPTY_FRONTIER;
        if (remembered === undefined) {
          for await (const leaves of readTuples(client, leafSource(0n, oldSize))) old = appendLeaves(old, leaves);
        }
        if (old.size !== oldSize) throw noLongerSigned(size);
        const leaves = readTuples(client, leafSource(oldSize, size));
        const proof = await proveGrowth(old, size, leaves).catch((error: unknown) => {
          throw error instanceof RangeError ? noLongerSigned(size) : error;
        });
        const claim = { size1: oldSize, size2: size, root1: rootOf(old), root2: rootOf(frontier), proof };
        if (!verifyConsistency(claim)) throw noLongerSigned(size);
        return proof;
      },
      'repeatable read, read only',
    ),
  );
}

/** What the links give is not what the signer grew leaf by leaf: they were changed after it signed. */
function noLongerSigned(size: bigint): AuditkeepError {
  return new AuditkeepError('CHAIN_REWRITTEN', {
    message: `the links of the chain no longer give the tree of ${size} leaves that was signed`,
    hint: 'run auditkeep chain verify: somebody changed the chain itself',
  });
}

function remember(
  before: WitnessMemory | undefined,
  answer: WitnessAnswer,
  tree: SignedTree,
  askedAt: string,
): WitnessMemory {
  if (answer.kind === 'cosigned') {
    const { frontier } = tree;
    return { frontier, note: answer.note, outcome: 'cosigned', detail: '', claimedSize: null, askedAt };
  }
  const accused = 'claimedSize' in answer ? answer.claimedSize : null;
  // A witness that accused and is now out of reach has not taken it back.
  const standing = accused === null && before?.claimedSize != null ? before : null;
  return {
    frontier: before?.frontier ?? EMPTY_FRONTIER,
    note: before?.note ?? null,
    outcome: standing?.outcome ?? answer.kind,
    detail: standing?.detail ?? answer.detail,
    claimedSize: standing?.claimedSize ?? accused,
    askedAt,
  };
}

async function keepCosignature(ctx: Asking, witness: Witness, tree: SignedTree, note: string): Promise<void> {
  const { size } = tree.frontier;
  const time = openCosignature(note, witness.key);
  if (time === null) return;
  await writeCosignedFile(ctx.config.home, { size, keyId: witness.keyId, note, incarnation: tree.incarnation });
  // askWitness keeps the witness's line last.
  const line = note.slice(note.lastIndexOf('\n', note.length - 2) + 1);
  await ctx.db.withClient((client) =>
    publishCosignature(client, {
      origin: tree.logKey.name,
      size,
      witness: witness.key.name,
      keyId: Buffer.from(witness.keyId, 'hex'),
      line,
      time,
    }),
  );
}

function reportAnswer(ctx: Asking, witness: Witness, answer: WitnessAnswer): void {
  const { name } = witness.key;
  if (answer.kind === 'cosigned') ctx.log.info({ witness: name }, 'chain.witness.cosigned');
  else if ('claimedSize' in answer) {
    const facts = { witness: name, detail: answer.detail, claimedSize: String(answer.claimedSize) };
    ctx.log.error(facts, `chain.witness.${answer.kind}`);
  } else ctx.log.warn({ witness: name, detail: answer.detail }, `chain.witness.${answer.kind}`);
}

function warnBelowQuorum(
  ctx: Asking,
  { quorum }: WitnessPolicy,
  answers: readonly (readonly [Witness, WitnessMemory])[],
  { frontier }: SignedTree,
): void {
  const cosigned = answers.filter(
    ([, { note, frontier: last }]) => note !== null && last.size === frontier.size,
  ).length;
  if (cosigned < quorum) ctx.log.warn({ cosigned, quorum, size: String(frontier.size) }, 'chain.not-anchored');
}

function refuseAccusation(witness: Witness, { outcome, claimedSize, detail }: WitnessMemory, tree: SignedTree): void {
  if (claimedSize === null) return;
  const details = { witness: witness.key.name, claimed: String(claimedSize), signed: String(tree.frontier.size) };
  throw new AuditkeepError(outcome === 'rolled-back' ? 'CHAIN_ROLLED_BACK' : 'CHAIN_REWRITTEN', {
    message: `the witness ${witness.key.name} ${detail}, and ours has ${tree.frontier.size}`,
    hint: 'the database and the signer were restored or rewritten: ask the witness for its checkpoint, then recover',
    details,
  });
}
