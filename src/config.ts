/**
 * One schema over defaults < auditkeep.yaml (or --config) < environment < flags, checked and frozen. Nothing is read at
 * import. This is the only file that reads process.env.
 */
import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { dirname, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { AuditkeepError } from './errors.ts';
import { nearestName } from './nearest-name.ts';
import { FREQUENCIES } from './time/report-period.ts';
import { yamlProblem } from './yaml-problem.ts';

/** The value itself is never repeated in an error: it may hold a password. */
const connectionString = z
  .string()
  .refine(
    (text) => /^postgres(ql)?:\/\//.test(text) && URL.canParse(text),
    'must look like postgres://user@host/database',
  )
  .nullable()
  .default(null);

const configSchema = z.strictObject({
  /** Connection string of the user's own server; null starts the embedded one. */
  databaseUrl: connectionString,
  /** Connection string for controls (role auditkeep_report); null uses databaseUrl with SET ROLE. */
  reportDatabaseUrl: connectionString,
  /** Connection string of auditkeep_maint, for VACUUM after an erasure (null leaves that to autovacuum) and `purge replay`. */
  maintenanceDatabaseUrl: connectionString,
  /** Folder of the embedded database, key files, the signer's store and the file archive; absolute. */
  home: z.string().min(1).default('.auditkeep'),
  /** E-mail of the person acting, and the SSH key that signs a decision. */
  as: z.string().min(1).nullable().default(null),
  key: z.string().min(1).nullable().default(null),
  /** Name of this installation in checkpoints and signed payloads. */
  origin: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]*(\/[a-z0-9.-]+)*$/, 'must look like host.example/name')
    // After a restore the log is called origin/2, origin/3: a name like that would be another log's later one.
    .regex(/(?<!\/[0-9]+)$/, 'must not end in a number of its own (host.example/2025): write host.example/audit-2025')
    .default('auditkeep.local/audit'),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('warn'),
  /** Witnesses of this installation's checkpoints: verifier key (`witness init` prints it) and submission prefix. */
  witnesses: z
    .array(z.strictObject({ vkey: z.string().min(1), url: z.url({ protocol: /^https?$/ }) }))
    .max(16)
    .default([]),
  /** How many witnesses must have cosigned; null: all of them. */
  witnessQuorum: z.int().min(1).nullable().default(null),
  /** How long one request to a witness may take. */
  witnessTimeoutSeconds: z.number().min(0.1).max(60).default(5),
  /** How many days backups of the database are kept; certificates say when the last one is gone. null: not known. */
  backupRetentionDays: z.int().min(0).max(36_500).nullable().default(null),
  /** Whose seal reports bear; stands in the certificate of the seal key that is made. null: the origin. */
  organization: z
    .string()
    .regex(/^\S(?:.{0,46}\S)?$/, 'must be a name of at most 48 characters')
    .nullable()
    .default(null),
  /** PEM files of a seal key of your own, RSA, and its certificate; null: one is made in the home. */
  sealKey: z.string().min(1).nullable().default(null),
  sealCertificate: z.string().min(1).nullable().default(null),
  /** The retention policy as `policy apply` takes it (src/retention/policy-parse.ts reads it); null: the built-in one. */
  retention: z.record(z.string(), z.unknown()).nullable().default(null),
  /** Scheduled reports. */
  reports: z
    .strictObject({
      /** Month in which a fiscal year starts; FY2026 ends in 2026. */
      fiscalYearStart: z.int().min(1).max(12).default(1),
      /** How often reports of a framework are made, where not as its template says; [] for never. */
      frequencies: z.record(z.string(), z.array(z.enum(FREQUENCIES))).default({}),
    })
    .default({ fiscalYearStart: 1, frequencies: {} }),
});

export type Config = Readonly<z.infer<typeof configSchema>>;
type ConfigKey = keyof Config;
type Environment = Readonly<Record<string, string | undefined>>;
type Layer = Readonly<Record<string, unknown>>;

const CONFIG_KEYS = Object.keys(configSchema.shape);
const DEFAULT_FILE = 'auditkeep.yaml';

/** Environment variables and the keys they set. Those with null are read elsewhere in this file. */
const VARIABLES: Readonly<Record<string, ConfigKey | null>> = {
  AUDITKEEP_REPORT_DATABASE_URL: 'reportDatabaseUrl',
  AUDITKEEP_MAINTENANCE_DATABASE_URL: 'maintenanceDatabaseUrl',
  AUDITKEEP_HOME: 'home',
  AUDITKEEP_AS: 'as',
  AUDITKEEP_KEY: 'key',
  AUDITKEEP_ORIGIN: 'origin',
  AUDITKEEP_LOG_LEVEL: 'logLevel',
  AUDITKEEP_DEBUG: null,
};

export interface ConfigSources {
  /** From the command line; undefined values are not given. */
  readonly flags?: { readonly [K in ConfigKey]?: Config[K] | undefined };
  /** `--config`; undefined looks for auditkeep.yaml in the working folder. */
  readonly file?: string | undefined;
  /** Default: the process's own. */
  readonly environment?: Environment;
  /** Default: the process's own. Relative paths from environment and flags start here, those of a file at the file. */
  readonly workingFolder?: string;
}

/**
 * Reads and checks the whole configuration.
 * @throws CONFIG_INVALID naming the key, where it stands and the nearest valid name; INPUT_FILE for a --config file that
 * cannot be read.
 */
export async function loadConfig(sources: ConfigSources = {}): Promise<Config> {
  const workingFolder = sources.workingFolder ?? process.cwd();
  const environment = sources.environment ?? process.env;
  const file = await readConfigFile(sources.file, workingFolder);
  const merged = {
    ...withAbsolutePaths(file.values, dirname(file.path)),
    ...withAbsolutePaths(readEnvironment(environment, sources.flags?.databaseUrl ?? null), workingFolder),
    ...withAbsolutePaths(definedOnly(sources.flags ?? {}), workingFolder),
  };
  const parsed = configSchema.safeParse(merged);
  if (parsed.success && (parsed.data.witnessQuorum ?? 0) > parsed.data.witnesses.length) {
    throw invalid('witnessQuorum: is more than there are witnesses', 'lower it, or add witnesses');
  }
  if (parsed.success && (parsed.data.sealKey === null) !== (parsed.data.sealCertificate === null)) {
    throw invalid('sealKey, sealCertificate: one is given without the other', 'give both files, or neither');
  }
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(
      `${issue?.path.join('.') || 'configuration'}: ${issue?.message ?? 'is malformed'}`,
      'correct the value',
    );
  }
  return Object.freeze({ ...parsed.data, home: resolve(workingFolder, parsed.data.home) });
}

/** True when AUDITKEEP_DEBUG=1 asks for stack traces. */
export function isDebugging(environment: Environment = process.env): boolean {
  return environment['AUDITKEEP_DEBUG'] === '1';
}

async function readConfigFile(given: string | undefined, folder: string): Promise<{ path: string; values: Layer }> {
  const path = resolve(folder, given ?? DEFAULT_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const absent = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    if (given === undefined && absent) return { path, values: {} };
    throw new AuditkeepError('INPUT_FILE', {
      message: `the configuration file ${path} cannot be read`,
      hint: 'check the path given with --config and its permissions',
      cause,
    });
  }
  return { path, values: parseConfigFile(text, path) };
}

function parseConfigFile(text: string, path: string): Layer {
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (cause) {
    throw invalid(`${path} is not YAML: ${yamlProblem(cause)}`, 'correct the file', cause);
  }
  if (value === null || value === undefined) return {};
  const parsed = z.record(z.string(), z.unknown()).safeParse(value);
  if (!parsed.success) throw invalid(`${path} does not hold keys and values`, 'write one key: value per line');
  for (const key of Object.keys(parsed.data)) {
    if (!CONFIG_KEYS.includes(key)) throw unknownName(`key ${key} in ${path}`, key, CONFIG_KEYS);
  }
  return parsed.data;
}

/** libpq's variables are left alone when a flag names the database. */
function readEnvironment(environment: Environment, givenUrl: string | null): Layer {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith('AUDITKEEP_') || name.startsWith('AUDITKEEP_TEST_')) continue;
    const key = VARIABLES[name];
    if (key === undefined) throw unknownName(`environment variable ${name}`, name, Object.keys(VARIABLES));
    if (key !== null && value !== undefined && value !== '') values[key] = value;
  }
  const url = givenUrl ?? (environment['DATABASE_URL'] || libpqUrl(environment));
  return url === null ? values : { ...values, databaseUrl: url };
}

/** Variables by which libpq would reach another server than the one we would. */
const UNSUPPORTED_VARIABLES = ['PGSERVICE', 'PGHOSTADDR'] as const;

/**
 * A connection string of libpq's variables; null unless one of them names a server or a database. What cannot be taken
 * over is refused: URL setters keep the old value in silence, and localhost is then somebody else's server.
 * @throws CONFIG_INVALID
 */
function libpqUrl(environment: Environment): string | null {
  const unsupported = UNSUPPORTED_VARIABLES.find((name) => environment[name]);
  if (unsupported !== undefined) throw unusableVariable(unsupported);
  const host = environment['PGHOST'] ?? '';
  if (host === '' && !environment['PGDATABASE']) return null;
  const url = new URL(`postgres://${authorityOf(host)}`);
  if (host.startsWith('/')) url.searchParams.set('host', host);
  const port = environment['PGPORT'] ?? '';
  if (port !== '' && !(/^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65_535)) throw unusableVariable('PGPORT');
  url.port = port;
  url.username = encodeURIComponent(environment['PGUSER'] ?? '');
  url.password = encodeURIComponent(environment['PGPASSWORD'] ?? '');
  url.pathname = `/${encodeURIComponent(environment['PGDATABASE'] ?? environment['PGUSER'] ?? '')}`;
  if (environment['PGSSLMODE']) url.searchParams.set('sslmode', environment['PGSSLMODE']);
  return url.href;
}

/** PGHOST as the host of a URL: one name, one address, or a socket's folder, which stands in a parameter instead. */
function authorityOf(host: string): string {
  if (host === '' || host.startsWith('/')) return 'localhost';
  if (isIPv6(host) && !host.includes('%')) return `[${host}]`;
  if (/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(host)) return host;
  throw unusableVariable('PGHOST');
}

function unusableVariable(name: string): AuditkeepError {
  return invalid(
    `${name} cannot be taken over as it is set`,
    'unset it and give the connection string in DATABASE_URL',
  );
}

function withAbsolutePaths(values: Layer, folder: string): Layer {
  const absolute: Record<string, unknown> = { ...values };
  for (const key of ['home', 'key', 'sealKey', 'sealCertificate'] as const) {
    const path = absolute[key];
    if (typeof path === 'string' && path !== '') absolute[key] = resolve(folder, path);
  }
  return absolute;
}

function definedOnly(values: Layer): Layer {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function unknownName(what: string, name: string, valid: readonly string[]): AuditkeepError {
  const nearest = nearestName(name, valid);
  return invalid(`unknown ${what}`, nearest === null ? `valid names: ${valid.join(', ')}` : `did you mean ${nearest}?`);
}

function invalid(message: string, hint: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('CONFIG_INVALID', { message, hint, cause });
}
