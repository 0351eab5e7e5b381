/**
 * The SQL of a control, before any database sees it: one plain select over schema facts with built-in functions from a
 * short list and named parameters (`:period_start`). The database checks again with the report login's rights, a READ
 * ONLY transaction, a cursor (which takes no data-modifying statement) and the plan (plan-check.ts); this check refuses
 * what rights cannot: catalogs that PUBLIC may read, functions that write, wait or look outside.
 */
import { AuditkeepError } from '../../errors.ts';

/** A checked statement with `$1...` in place of its named parameters. */
export interface ControlStatement {
  readonly sql: string;
  /** Names in the order of `$1...`, each once. */
  readonly parameters: readonly string[];
}

const FUNCTIONS: ReadonlySet<string> = new Set(
  `abs age bool_and bool_or btrim cardinality ceil coalesce concat count date_part date_trunc every extract floor
   greatest lag lead least left length lower max min mod nullif rank right round row_number string_agg substr sum
   to_char trunc upper array_length dense_rank`.split(/\s+/),
);
/** Words that SQL itself puts before a parenthesis. */
const WORDS_BEFORE_PARENTHESIS: ReadonlySet<string> = new Set(
  `all and any as between by case cast distinct else except exists filter from group having in interval intersect
   is join lateral materialized not on or over partition select some then union using values when where with
   numeric varchar char timestamp timestamptz time`.split(/\s+/),
);
const FORBIDDEN_WORDS: ReadonlySet<string> = new Set(
  `alter analyze begin call checkpoint close cluster comment commit copy create deallocate declare delete discard do
   drop execute explain fetch for grant import insert into listen load lock merge move notify prepare reassign refresh
   reindex reset returning revoke rollback savepoint security set show start table tablesample truncate unlisten update vacuum
   recursive current_user session_user user current_role current_schema current_catalog current_timestamp current_date
   current_time localtime localtimestamp system_user information_schema pg_catalog pg_temp`.split(/\s+/),
);

const TOKEN =
  /(?<space>\s+|--[^\r\n]*)|(?<string>'(?:[^']|'')*')|(?<comment>\/\*)|(?<cast>::)|:(?<parameter>[a-z][a-z0-9_]*)|(?<word>[A-Za-z_][A-Za-z0-9_]*)|(?<number>\d+(?:\.\d+)?)|(?<symbol>[(),.*+\-/%<>=|[\]]|!=)|(?<unknown>[\s\S])/gy;

interface Token {
  readonly kind: 'string' | 'cast' | 'parameter' | 'word' | 'number' | 'symbol';
  readonly text: string;
}

/**
 * Checks a control's statement and numbers its parameters, after those of statements that it is joined with.
 * @throws TEMPLATE_SQL naming the statement and what is refused
 */
export function parseControlSql(sql: string, label: string, numbersBefore = 0): ControlStatement {
  const parameters: string[] = [];
  const tokens: Token[] = [];
  let numbered = '';
  for (const match of sql.matchAll(TOKEN)) {
    const groups = match.groups ?? {};
    const { parameter } = groups;
    const foreign = groups['comment'] ?? groups['unknown'];
    if (foreign !== undefined) throw refused(label, `'${foreign}'`);
    if (parameter === undefined) numbered += groups['space'] === undefined ? match[0] : ' ';
    else {
      if (!parameters.includes(parameter)) parameters.push(parameter);
      numbered += `$${numbersBefore + parameters.indexOf(parameter) + 1}`;
    }
    const kind = (['string', 'cast', 'parameter', 'word', 'number', 'symbol'] as const).find(
      (name) => groups[name] !== undefined,
    );
    if (kind !== undefined) tokens.push({ kind, text: match[0].toLowerCase() });
  }
  checkTokens(tokens, label);
  return { sql: numbered.trim(), parameters };
}

function checkTokens(tokens: readonly Token[], label: string): void {
  const first = tokens[0]?.text;
  if (first !== 'select' && first !== 'with') throw refused(label, 'anything but one select');
  const named = namedQueries(tokens);
  let depth = 0;
  for (const [index, token] of tokens.entries()) {
    if (token.text === '(') depth += 1;
    if (token.text === ')') depth -= 1;
    if (depth < 0) throw refused(label, 'an unbalanced parenthesis');
    if (token.kind === 'word') checkWord(tokens, index, named, label);
  }
  if (depth !== 0) throw refused(label, 'an unbalanced parenthesis');
}

/** Names that `with NAME as (` gives within the statement. */
function namedQueries(tokens: readonly Token[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== 'word' || tokens[index + 1]?.text !== 'as') continue;
    if (['(', 'materialized'].includes(tokens[index + 2]?.text ?? '')) names.add(token.text);
  }
  return names;
}

function checkWord(tokens: readonly Token[], index: number, named: ReadonlySet<string>, label: string): void {
  const word = tokens[index]?.text ?? '';
  const before = tokens[index - 1]?.text;
  const after = tokens[index + 1]?.text;
  if (before === '.') {
    if (after === '(') throw refused(label, `the function '${word}'`);
    return;
  }
  // E'\'' ends elsewhere than this reader thinks; so do the other prefixed literals.
  if (/^[ebxn]$/.test(word) && tokens[index + 1]?.kind === 'string') throw refused(label, 'a prefixed string');
  if (FORBIDDEN_WORDS.has(word) || word.startsWith('pg_')) throw refused(label, `the word '${word}'`);
  if (after === '(' && !FUNCTIONS.has(word) && !WORDS_BEFORE_PARENTHESIS.has(word)) {
    throw refused(label, `the function '${word}'`);
  }
  if ((before === 'from' || before === 'join') && !isDistinctFrom(tokens, index)) {
    const isFact = word === 'facts' && after === '.';
    if (!isFact && !named.has(word) && word !== 'lateral') throw refused(label, `the relation '${word}'`);
  }
}

/** `a is distinct from b` and `extract(day from x)` have a FROM that names no relation. */
function isDistinctFrom(tokens: readonly Token[], index: number): boolean {
  const earlier = tokens[index - 2]?.text;
  const opener = tokens[index - 4]?.text;
  return earlier === 'distinct' || opener === 'extract';
}

function refused(label: string, what: string): AuditkeepError {
  return new AuditkeepError('TEMPLATE_SQL', {
    message: `the SQL of ${label} is refused: it contains ${what}`,
    hint: 'write one select over facts.* with built-in functions (src/reports/README.md lists them)',
  });
}
