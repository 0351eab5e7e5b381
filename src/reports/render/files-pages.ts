/** Annexes of what lies beside the model: the files of evidence, and the keys that were drawn from each population. */
import { COLOR, FONT } from '../../pdf/page.ts';
import { ensureRoom, heading, measure, type Sheet, write } from '../../pdf/sheet.ts';
import { drawTable } from '../../pdf/table.ts';
import type { ControlModel } from '../model/control-model.ts';
import { formatCount, type Texts } from '../template/texts.ts';

/** Draws the list of files with rows, bytes and hashes from the current position on. */
export function drawFiles(sheet: Sheet, controls: readonly ControlModel[], texts: Texts): void {
  heading(sheet, 1, texts('files.heading'));
  write(sheet, texts('files.introduction'), { color: COLOR.quiet, gapAfter: 8 });
  const files = controls.flatMap(({ exceptions, ipe }) => [exceptions.evidence, ipe.sample?.evidence ?? null]);
  const present = files.filter((file) => file !== null);
  if (present.length === 0) {
    write(sheet, texts('files.none'));
    return;
  }
  drawTable(
    sheet,
    [
      { label: texts('files.path'), weight: 121 },
      { label: texts('files.rows'), weight: 33, align: 'right' },
      { label: texts('files.bytes'), weight: 43, align: 'right' },
      { label: texts('files.sha256'), weight: 286, mono: true },
    ],
    present.map(({ path, rows, bytes, sha256 }) => [
      { text: path },
      { text: formatCount(rows) },
      { text: formatCount(bytes) },
      { text: sha256 },
    ]),
  );
}

/** Characters that one line of keys holds. */
const LINE = 108;

/** Keys below each other in as many columns as fit: none is broken at a line's end unless it is longer than a line. */
function inColumns(keys: readonly string[]): string {
  const widest = Math.max(...keys.map((key) => key.length)) + 3;
  const columns = Math.max(1, Math.floor((LINE + 3) / widest));
  return Array.from({ length: Math.ceil(keys.length / columns) }, (_, line) => {
    const ofLine = keys.slice(line * columns, (line + 1) * columns);
    return ofLine.map((key) => key.padEnd(widest)).join('');
  })
    .map((line) => line.trimEnd())
    .join('\n');
}

const KEYS_STYLE = { font: FONT.mono, size: 7.2 } as const;

/** Draws the keys of each sample from the current position on, those first that were not found again. */
export function drawSamples(sheet: Sheet, controls: readonly ControlModel[], texts: Texts): void {
  heading(sheet, 1, texts('samples.heading'));
  write(sheet, texts('samples.introduction'), { color: COLOR.quiet });
  for (const { id, title, ipe } of controls) {
    const { sample } = ipe;
    if (sample === null || sample.keys.length === 0) continue;
    const keys = inColumns(sample.keys);
    const missing = sample.reread?.missing ?? [];
    const height = measure(sheet, keys, KEYS_STYLE) + 50;
    if (height < 500) ensureRoom(sheet, height);
    heading(sheet, 3, `${id.toUpperCase()}  ${title}`, 40);
    const figures = { keys: formatCount(sample.keys.length), rows: formatCount(ipe.rowCount) };
    write(sheet, texts('samples.drawn', figures), { size: 8.6, color: COLOR.quiet, gapAfter: 2 });
    write(sheet, keys, KEYS_STYLE);
    if (missing.length === 0) continue;
    write(sheet, texts('samples.missing', { keys: missing.join(', ') }), { size: 8.6, font: FONT.bold });
  }
}
