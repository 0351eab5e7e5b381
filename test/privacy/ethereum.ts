/** Real and made-up Ethereum transactions in the table, sealed as an import seals them. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { SqlClient } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { TRANSACTIONS_TABLE } from '../../src/privacy/replacement.ts';
import { transactionId } from '../../src/privacy/transaction-id.ts';
import type { TestContext } from '../support/context.ts';
import { isExpected } from '../support/shared-data.ts';

const ETHEREUM_FOLDER = '../shared/data/ethereum';
export const hasEthereumData = isExpected(ETHEREUM_FOLDER);

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
async function networkId(client: SqlClient): Promise<string> {
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
  const records = rows.map((row) => {
    const id = transactionId(secret, network, row.hash);
    const cell = (column: string, text: string | null) =>
      text === null
        ? null
        : seal({ table: TRANSACTIONS_TABLE, column, rowId: id, dataClass: 'confidential' }, Buffer.from(text));
    return {
      id,
      transaction_hash: row.hash,
      network_id: network,
      from_address_encrypted: cell('from_address_encrypted', row.from),
      to_address_encrypted: cell('to_address_encrypted', row.to),
      value_encrypted: cell('value_encrypted', row.value),
      gas_used: row.gas,
      gas_price: row.gasPrice,
      block_height: row.blockNumber,
      block_hash: row.blockHash,
      transaction_index: row.index,
      status: 'confirmed',
      anonymized: false,
      created_at: row.time,
      confirmed_at: row.time,
    };
  });
  await execute(
    client,
    `insert into security_confidential.transactions
     select * from jsonb_populate_recordset(null::security_confidential.transactions, $1::jsonb)`,
    [JSON.stringify(records)],
  );
  return records.map((record) => record.id);
}

const leftShape = z.object({
  id: z.string(),
  pseudonymFrom: z.string().nullable(),
  pseudonymTo: z.string().nullable(),
  bucket: z.number().nullable(),
  day: z.string(),
  level: z.number(),
  anonymized: z.boolean(),
  /** The whole row as text, for searching. */
  text: z.string(),
});

/** Processed rows as an adversary with the table reads them, in the table's physical order. */
export function readLeft(client: SqlClient): Promise<z.infer<typeof leftShape>[]> {
  return queryRows(
    client,
    leftShape,
    `select id, pseudonym_from as "pseudonymFrom", pseudonym_to as "pseudonymTo", value_bucket as bucket,
            to_char(confirmed_at, 'YYYY-MM-DD') as day, anonymization_level as level, anonymized, t::text as text
       from security_confidential.transactions t where anonymization_level is not null order by ctid`,
  );
}
