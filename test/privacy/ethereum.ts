/** Real and made-up Ethereum transactions in the table, sealed as an import seals them. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { execute, queryOne } from '../../src/db/query.ts';
import type { SqlClient } from '../../src/db/database.ts';
import { TRANSACTIONS_TABLE } from '../../src/privacy/replacement.ts';
import { transactionId } from '../../src/privacy/transaction-id.ts';
import type { TestContext } from '../support/context.ts';

export const ETHEREUM_FOLDER = '../shared/data/ethereum';
export const hasEthereumData = existsSync(ETHEREUM_FOLDER);

/** What the public chain says of a transaction. Amounts are decimal text: wei is beyond 2^53. */
export interface PublicTransaction {
  readonly hash: string;
  readonly from: string;
  readonly to: string | null;
  readonly value: string;
  readonly blockNumber: number;
  readonly blockHash: string;
  readonly index: number;
  readonly gas: number;
  readonly gasPrice: number;
  /** ISO 8601. */
  readonly time: string;
}

const lineShape = z.object({
  hash: z.string(),
  from_address: z.string(),
  to_address: z.string().nullable(),
  block_number: z.number(),
  block_hash: z.string(),
  transaction_index: z.number(),
  gas: z.number(),
  gas_price: z.number(),
  block_timestamp: z.number(),
});

/** The 298 transactions of mainnet blocks 17173049 and 17173050. */
export function readPublicChain(): PublicTransaction[] {
  const lines = readFileSync(`${ETHEREUM_FOLDER}/transactions.json`, 'utf8').trim().split('\n');
  return lines.map((line) => {
    const row = lineShape.parse(JSON.parse(line));
    const value = /"value": (\d+)/.exec(line)?.[1] ?? '';
    return {
      hash: row.hash,
      from: row.from_address,
      to: row.to_address,
      value,
      blockNumber: row.block_number,
      blockHash: row.block_hash,
      index: row.transaction_index,
      gas: row.gas,
      gasPrice: row.gas_price,
      time: new Date(row.block_timestamp * 1000).toISOString(),
    };
  });
}

/** A small chain: `count` transactions on one day between a few addresses, amounts in two orders of magnitude. */
export function makeChain(count: number, day = '2022-05-10', prefix = 'a'): PublicTransaction[] {
  return Array.from({ length: count }, (_, index) => ({
    hash: `0x${prefix}${index.toString(16).padStart(63, '0')}`,
    from: `0x${(index % 4).toString(16).padStart(40, 'A')}`,
    to: `0x${(index % 2).toString(16).padStart(40, 'b')}`,
    value: index % 2 === 0 ? `1${index % 10}000000000000000000` : `${1 + (index % 9)}00`,
    blockNumber: 1000 + index,
    blockHash: `0x${'c'.repeat(64)}`,
    index,
    gas: 21000 + index,
    gasPrice: 80_000_000_000 + index,
    time: `${day}T${String(index % 24).padStart(2, '0')}:00:00.000Z`,
  }));
}

/** The id of the test's network, made when it is not there. */
export async function networkId(client: SqlClient): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ id: z.string() }),
    `insert into security_internal.blockchain_networks (network_name, network_type, rpc_endpoints)
     values ('mainnet', 'ethereum', '{}') on conflict (network_name) do update set network_type = 'ethereum'
     returning id`,
  );
  return row.id;
}

/** Inserts transactions sealed by the context's key ring; gives their ids in the order given. */
export async function insertTransactions(
  ctx: TestContext,
  client: SqlClient,
  rows: readonly PublicTransaction[],
): Promise<string[]> {
  const network = await networkId(client);
  const secret = await ctx.keys.secret('import-id');
  const seal = await ctx.keys.sealer('confidential');
  const ids: string[] = [];
  for (const row of rows) {
    const id = transactionId(secret, network, row.hash);
    const cell = (column: string, text: string | null) =>
      text === null
        ? null
        : seal({ table: TRANSACTIONS_TABLE, column, rowId: id, dataClass: 'confidential' }, Buffer.from(text));
    await execute(
      client,
      `insert into security_confidential.transactions (id, transaction_hash, network_id, from_address_encrypted,
         to_address_encrypted, value_encrypted, gas_used, gas_price, block_height, block_hash, transaction_index, status,
         created_at, confirmed_at)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'confirmed', $12, $12)`,
      [
        id,
        row.hash,
        network,
        cell('from_address_encrypted', row.from),
        cell('to_address_encrypted', row.to),
        cell('value_encrypted', row.value),
        row.gas,
        row.gasPrice,
        row.blockNumber,
        row.blockHash,
        row.index,
        row.time,
      ],
    );
    ids.push(id);
  }
  return ids;
}
