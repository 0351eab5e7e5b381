/**
 * What a control's plan may touch. The report login can read the fact views and, as PUBLIC, the catalogs; so a plan that
 * scans a catalog, or a function outside schema facts, is refused here. Facts themselves read catalogs through definer
 * functions only, which keeps this rule without exceptions.
 */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { AuditkeepError } from '../../errors.ts';
import { explainStatement } from '../model/store.ts';

const REFUSED_SCHEMAS: ReadonlySet<string> = new Set(['pg_catalog', 'information_schema', 'pg_toast']);

const nodeSchema = z.looseObject({
  Schema: z.string().optional(),
  'Relation Name': z.string().optional(),
  'Function Name': z.string().optional(),
  get Plans() {
    return z.array(nodeSchema).optional();
  },
});
type PlanNode = z.infer<typeof nodeSchema>;

const explainSchema = z.array(z.object({ Plan: nodeSchema })).length(1);

/**
 * Asks the database for the plan and refuses one that reads outside the facts. The statement is not run.
 * @throws TEMPLATE_SQL; the database's own error where the statement names what does not exist or may not be read
 */
export async function checkPlan(
  client: SqlClient,
  statement: { readonly sql: string; readonly values: readonly string[]; readonly label: string },
): Promise<void> {
  const explained = explainSchema.parse(await explainStatement(client, statement.sql, statement.values));
  for (const { Plan } of explained) checkNode(Plan, statement.label);
}

function checkNode(node: PlanNode, label: string): void {
  const name = node['Relation Name'] ?? node['Function Name'];
  const isForeign = node['Function Name'] !== undefined && node.Schema !== 'facts';
  if (isForeign || REFUSED_SCHEMAS.has(node.Schema ?? '')) {
    throw new AuditkeepError('TEMPLATE_SQL', {
      message: `the SQL of ${label} is refused: it reads ${node.Schema ?? '?'}.${name ?? '?'}`,
      hint: 'read the views of schema facts only',
    });
  }
  for (const child of node.Plans ?? []) checkNode(child, label);
}
