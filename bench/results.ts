/** Results of benchmarks, and how they are timed. */
import type { BenchResult } from './bench.ts';

export interface Timed<T> {
  readonly seconds: number;
  readonly result: T;
}

export async function timed<T>(fn: () => Promise<T>): Promise<Timed<T>> {
  const start = performance.now();
  const result = await fn();
  return { seconds: (performance.now() - start) / 1000, result };
}

/** The one in the middle; of an even number the lower one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}

export function atLeast(name: string, value: number, bar: number, detail: string): BenchResult {
  return { name, value: rounded(value), bar, ok: value >= bar, detail };
}

export function atMost(name: string, value: number, bar: number, detail: string): BenchResult {
  return { name, value: rounded(value), bar, ok: value <= bar, detail: `${detail} (at most)` };
}

export function info(name: string, value: number, detail: string): BenchResult {
  return { name, value: rounded(value), bar: null, ok: true, detail };
}

function rounded(value: number): number {
  return value > 100 ? Math.round(value) : Math.round(value * 100) / 100;
}
