/** What a report costs: over a million events, and with a million exceptions. */
import type { Bench } from '../bench.ts';
import { benchEvidence } from './evidence.ts';
import { benchPeriod } from './period.ts';

export const reportsBench: Bench = {
  area: 'reports',
  run: async (options) => [...(await benchPeriod(options)), ...(await benchEvidence(options))],
};
