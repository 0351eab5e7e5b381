/** What a program that embeds auditkeep may use; everything else may change in any release. */
export { type App, type AppOptions, openApp } from './app.ts';
export { type Config, type ConfigSources, loadConfig } from './config.ts';
export type { Actor, Context, Progress } from './context.ts';
export { AuditkeepError, ERROR_CODES, type ErrorCode, EXIT, type ExitCode } from './errors.ts';
export { JOBS } from './jobs/registry.ts';
export { runJob } from './jobs/run-job.ts';
export { startWorker, type Worker } from './jobs/worker.ts';
export { migrate } from './schema/migrate.ts';
