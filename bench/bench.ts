/** What a benchmark is: an area with a function that measures and compares with bars. */

export interface BenchResult {
  readonly name: string;
  /** A ratio or a count; what it is the detail says. */
  readonly value: number;
  /** What value has to reach; null where the figure is only for information. */
  readonly bar: number | null;
  /** False when the bar is missed. */
  readonly ok: boolean;
  readonly detail: string;
}

export interface BenchOptions {
  /** 1, or 0.1 with --quick. */
  readonly scale: number;
  /** Progress in words, to stderr. */
  say(line: string): void;
}

export interface Bench {
  readonly area: string;
  run(options: BenchOptions): Promise<readonly BenchResult[]>;
}
