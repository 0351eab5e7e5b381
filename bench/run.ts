/** `npm run bench -- AREA [--json] [--quick]`: runs the benchmarks of an area, or all. Exit 3 when a bar is missed. */
import { cpus, loadavg, totalmem } from 'node:os';
import type { Bench, BenchResult } from './bench.ts';
import { chainBench } from './chain/bench.ts';

import { importBench } from './import.ts';
import { reportsBench } from './reports/bench.ts';
import { retentionBench } from './retention/bench.ts';

/** Every area, in the order in which `npm run bench` without an area runs them. */
const BENCHES: readonly Bench[] = [importBench, chainBench, retentionBench, reportsBench];

async function main(args: readonly string[]): Promise<number> {
  const flags = args.filter((arg) => arg.startsWith('--'));
  const areas = args.filter((arg) => !arg.startsWith('--'));
  const known = BENCHES.map((bench) => bench.area);
  const wrong = [
    ...flags.filter((flag) => flag !== '--json' && flag !== '--quick'),
    ...areas.filter((area) => !known.includes(area)),
  ];
  if (wrong.length > 0) {
    process.stderr.write(
      `unknown: ${wrong.join(', ')}; usage: npm run bench -- [${known.join(' | ')}] [--json] [--quick]\n`,
    );
    return 2;
  }
  const options = {
    scale: flags.includes('--quick') ? 0.1 : 1,
    say: (line: string) => process.stderr.write(`${line}\n`),
  };
  const results: BenchResult[] = [];
  for (const bench of BENCHES) {
    if (areas.length === 0 || areas.includes(bench.area)) results.push(...(await bench.run(options)));
  }
  process.stdout.write(
    flags.includes('--json') ? `${JSON.stringify({ machine: machine(), results })}\n` : table(results),
  );
  return results.every((result) => result.ok) ? 0 : 3;
}

function machine(): string {
  const load = loadavg().map((value) => value.toFixed(1));
  return `${cpus().length} x ${cpus()[0]?.model ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, load ${load.join(' ')}`;
}

function table(results: readonly BenchResult[]): string {
  const lines = results.map(({ name, value, bar, ok, detail }) => {
    const mark = bar === null ? 'info' : ok ? 'ok  ' : 'MISS';
    return `${mark}  ${name}: ${value}${bar === null ? '' : ` (bar ${bar})`}  ${detail}`;
  });
  return `${machine()}\n${lines.join('\n')}\n`;
}

process.exitCode = await main(process.argv.slice(2));
