/**
 * Runs controls: all under one snapshot, as auditkeep_report, READ ONLY, while no partition moves. A control that fails
 * or takes too long is an error of its own; the others go on.
 */
import type { Context } from '../../context.ts';
import { withSessionLock } from '../../db/advisory-lock.ts';
import { transact } from '../../db/transaction.ts';
import { isoOf } from '../../time/clock.ts';
import type { ReportPeriod } from '../../time/report-period.ts';
import { type EvidenceSink, HASH_ONLY } from '../evidence/evidence-file.ts';
import type { ControlResult } from '../model/control-model.ts';
import type { SourceFacts } from '../model/model.ts';
import { lockFacts, readSource } from '../model/store.ts';
import type { ControlTemplate } from '../template/template.ts';
import { type ControlInput, type EvaluatedControl, evaluateControl } from './evaluate-control.ts';
import { randomSeed, recordSample } from './sample.ts';
import { readByKeys } from './store-sample.ts';
import { attemptControl, type Failure, type LimitedClient, limitedClient, withTimeLimit } from './time-limit.ts';
import type { ActiveWaiver } from './waiver.ts';

export interface EvaluateInput {
  readonly controls: readonly ControlTemplate[];
  readonly period: ReportPeriod;
  /** Those that count now; none unless given. */
  readonly waivers?: readonly ActiveWaiver[];
  /** Replaces an id in exceptions. */
  readonly pseudonymize: (value: string) => string;
  /** Awaited after each batch of exceptions, so that whoever remembers pseudonyms can put them elsewhere; nothing unless given. */
  readonly settle?: () => Promise<void>;
  /** Where all exceptions and samples go; they are only hashed unless given. */
  readonly evidence?: EvidenceSink;
  /** Of the samples, as parseSeed gives it; random unless given. */
  readonly sampleSeed?: string;
  /** A report lets retention go after this time; 30 minutes unless given. */
  readonly timeLimitMs?: number;
  /** A control is an error after this time; 10 minutes unless given. */
  readonly controlTimeLimitMs?: number;
}

export interface Evaluation {
  readonly source: SourceFacts;
  /** In the order of the input. */
  readonly results: readonly { readonly template: ControlTemplate; readonly result: ControlResult }[];
}

type EvaluateContext = Pick<Context, 'reportDb' | 'clock' | 'progress'>;

const TIME_LIMIT_MS = 30 * 60_000;
const CONTROL_TIME_LIMIT_MS = 10 * 60_000;

/**
 * Evaluates controls on one snapshot, and looks for what was sampled once more on a later one.
 * @throws REPORT_TIMEOUT after the time limit, TEMPLATE_SQL when a control reads outside the facts, and those of EvidenceSink
 */
export function evaluateControls(ctx: EvaluateContext, input: EvaluateInput): Promise<Evaluation> {
  return ctx.reportDb.withClient((client) =>
    // The lock comes before BEGIN: taking it inside would fix the snapshot before a move that we waited for.
    withSessionLock(client, 'structure', 'shared', async () => {
      const run: Run = {
        ctx,
        limited: await limitedClient(ctx.reportDb, client),
        controls: input.controls,
        controlTimeLimitMs: input.controlTimeLimitMs ?? CONTROL_TIME_LIMIT_MS,
        input: {
          period: input.period,
          asOf: ctx.clock.now(),
          waivers: input.waivers ?? [],
          pseudonymize: input.pseudonymize,
          settle: input.settle ?? (() => Promise.resolve()),
          evidence: input.evidence ?? HASH_ONLY,
          seed: input.sampleSeed ?? randomSeed(),
        },
      };
      return withTimeLimit(run.limited, input.timeLimitMs ?? TIME_LIMIT_MS, 'report', async () => {
        const { source, outcomes } = await transact(client, () => evaluateAll(run), 'repeatable read, read only');
        const again = await transact(client, () => readAgain(run, outcomes), 'repeatable read, read only');
        return { source, results: await recordSamples(run, outcomes, again) };
      });
    }),
  );
}

interface Run {
  readonly ctx: EvaluateContext;
  readonly limited: LimitedClient;
  readonly controls: readonly ControlTemplate[];
  readonly controlTimeLimitMs: number;
  readonly input: ControlInput;
}

interface Outcome {
  readonly template: ControlTemplate;
  readonly found: Failure | { readonly kind: 'done'; readonly value: EvaluatedControl };
}

async function evaluateAll(run: Run): Promise<{ source: SourceFacts; outcomes: Outcome[] }> {
  const { client } = run.limited;
  const { progress } = run.ctx;
  await lockFacts(client);
  const { events, chainSize, ...read } = await readSource(client);
  const source = {
    ...read,
    readAt: isoOf(run.input.asOf),
    chainSize: Number(chainSize),
    unsealedEvents: Math.max(0, Number(events - chainSize)),
  };
  const outcomes: Outcome[] = [];
  progress.start('controls', run.controls.length);
  try {
    for (const template of run.controls) {
      const evaluate = () => evaluateControl(client, template, run.input);
      outcomes.push({ template, found: await attemptControl(run.limited, run.controlTimeLimitMs, evaluate) });
      progress.update(outcomes.length);
    }
  } finally {
    progress.stop();
  }
  return { source, outcomes };
}

/** What is there by the sampled keys, on a snapshot of its own; null where that failed. By the control's id. */
async function readAgain(run: Run, outcomes: readonly Outcome[]) {
  const { client } = run.limited;
  await lockFacts(client);
  const found = new Map<string, { readonly at: string; readonly keys: readonly string[] } | null>();
  for (const { template, found: first } of outcomes) {
    if (first.kind === 'failed') continue;
    const { query, drawn } = first.value;
    const read = () => (drawn.length === 0 ? Promise.resolve([]) : readByKeys(client, query, drawn));
    const keys = await attemptControl(run.limited, run.controlTimeLimitMs, read);
    found.set(template.id, keys.kind === 'failed' ? null : { at: isoOf(run.ctx.clock.now()), keys: keys.value });
  }
  return found;
}

async function recordSamples(
  { input }: Run,
  outcomes: readonly Outcome[],
  again: Awaited<ReturnType<typeof readAgain>>,
): Promise<Evaluation['results']> {
  const results: { template: ControlTemplate; result: ControlResult }[] = [];
  for (const { template, found } of outcomes) {
    if (found.kind === 'failed') {
      results.push({ template, result: found });
      continue;
    }
    const { result, drawn } = found.value;
    const sample = await recordSample({ ...input, template, drawn, again: again.get(template.id) ?? null });
    results.push({ template, result: { ...result, sample } });
  }
  return results;
}
