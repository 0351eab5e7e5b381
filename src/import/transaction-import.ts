/** Writes batches of blockchain transactions: addresses and amounts as envelopes, one transaction a batch. */
import type { Context } from '../context.ts';
import { lockTransaction } from '../db/advisory-lock.ts';
import { inTransaction } from '../db/transaction.ts';
import type { CellContext, NamedSecret } from '../keys/keyring.ts';
import { transactionId } from '../privacy/transaction-id.ts';
import type { BatchOutcome, Located, WriteBatch } from './batch.ts';
import { type EventImportContext, recordBatch } from './event-import.ts';
import { ensureNetwork, findKnownTransactions, insertTransactions, type StoredTransaction } from './store.ts';
import type { TransactionRow } from './transaction-row.ts';

/** The one network that ethereum-etl exports are taken to be of. */
const ETHEREUM_MAINNET = { name: 'ethereum-mainnet', chainId: 1 } as const;

const TABLE = 'security_confidential.transactions';

type Seal = (context: CellContext, plaintext: Uint8Array) => string;

/** A function that stores batches of transactions. Secret and network row are made at the first batch of a database. */
export function transactionWriter(ctx: EventImportContext): WriteBatch<TransactionRow> {
  let setup: Promise<Setup> | null = null;
  return async (rows) => {
    setup ??= prepare(ctx);
    return writeTransactions(ctx, await setup, rows);
  };
}

interface Setup {
  readonly secret: NamedSecret;
  readonly networkId: string;
}

/** Keys first: where they cannot be used, nothing is stored. */
async function prepare(ctx: Pick<Context, 'db' | 'keys'>): Promise<Setup> {
  await ctx.keys.sealer('confidential');
  const secret = await ctx.keys.secret('import-id');
  const networkId = await inTransaction(ctx.db, (client) =>
    ensureNetwork(client, ETHEREUM_MAINNET.name, ETHEREUM_MAINNET.chainId),
  );
  return { secret, networkId };
}

async function writeTransactions(
  ctx: EventImportContext,
  { secret, networkId }: Setup,
  located: readonly Located<TransactionRow>[],
): Promise<BatchOutcome> {
  const unique = new Map(located.map(({ row }) => [transactionId(secret, networkId, row.hash), row]));
  const seal = await ctx.keys.sealer('confidential');
  return inTransaction(ctx.db, async (client) => {
    await lockTransaction(client, 'import');
    const hashes = [...unique.values()].map((row) => row.hash);
    const known = new Set(await findKnownTransactions(client, [...unique.keys()], hashes));
    const fresh = [...unique].filter(([id]) => !known.has(id)).map(([id, row]) => sealTransaction(id, row, seal));
    const imported = await insertTransactions(client, networkId, fresh);
    const outcome = { imported, duplicates: located.length - imported, late: 0, rejections: [] };
    if (imported > 0) await recordBatch(ctx, client, 'ethereum', located, outcome);
    return outcome;
  });
}

function sealTransaction(id: string, row: TransactionRow, seal: Seal): StoredTransaction {
  const cell = (column: string, text: string) =>
    seal({ table: TABLE, column, rowId: id, dataClass: 'confidential' }, Buffer.from(text, 'utf8'));
  return {
    id,
    hash: row.hash,
    from: cell('from_address_encrypted', row.from),
    to: row.to === null ? null : cell('to_address_encrypted', row.to),
    value: cell('value_encrypted', row.valueWei),
    gasUsed: row.gasUsed,
    gasPriceWei: row.gasPriceWei,
    blockHeight: row.blockHeight,
    blockHash: row.blockHash,
    index: row.index,
    status: row.status,
    functionSignature: row.functionSignature,
    inputHash: row.inputHash,
    at: row.time.text,
  };
}
