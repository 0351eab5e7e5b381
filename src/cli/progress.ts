/** Progress bars on a terminal's stderr; on anything else they do nothing. */
import { SingleBar } from 'cli-progress';
import type { Progress } from '../context.ts';

/** A Progress that draws one bar at a time, or nothing when not enabled. */
export function createProgress(stream: NodeJS.WritableStream, enabled: boolean): Progress {
  let bar: SingleBar | null = null;
  const stop = () => {
    bar?.stop();
    bar = null;
  };
  return {
    start(label, total) {
      stop();
      if (!enabled) return;
      const format = total === null ? `${label} {value}` : `${label} {bar} {value}/{total} {eta_formatted}`;
      bar = new SingleBar({ stream, format, hideCursor: true, clearOnComplete: true, noTTYOutput: false });
      bar.start(total ?? 0, 0);
    },
    update(done) {
      bar?.update(done);
    },
    stop,
  };
}
