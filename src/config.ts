/** One schema over defaults, auditkeep.yaml, environment and flags, frozen. Nothing is read at import. */
import { z } from 'zod';

const configSchema = z.strictObject({
  /** Connection string of the user's own server; null starts the embedded one. */
  databaseUrl: z.string().min(1).nullable().default(null),
  /** Connection string for controls (role auditkeep_report); null uses databaseUrl with SET ROLE. */
  reportDatabaseUrl: z.string().min(1).nullable().default(null),
  /** Folder of the embedded database, key files, the signer's store and the file archive. */
  home: z.string().min(1).default('.auditkeep'),
  /** E-mail of the person acting, and the SSH key that signs a decision. */
  as: z.string().min(1).nullable().default(null),
  key: z.string().min(1).nullable().default(null),
  /** Name of this installation in checkpoints and signed payloads. */
  origin: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]*(\/[a-z0-9.-]+)*$/)
    .default('auditkeep.local/audit'),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('warn'),
});

export type Config = Readonly<z.infer<typeof configSchema>>;
export { configSchema };
