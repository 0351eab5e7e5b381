/** How results and errors are printed: data to stdout, words to stderr, bigint as decimal strings. */
import { AuditkeepError } from '../errors.ts';

/** Where a command writes; the process's own streams unless a test gives others. */
export interface Streams {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

/** JSON text with bigint as decimal strings and bytes as base64. */
export function toJsonText(data: unknown): string {
  return JSON.stringify(
    data,
    (_key, value: unknown) => {
      if (typeof value === 'bigint') return value.toString();
      return value;
    },
    2,
  );
}

/** The columns of a terminal; undefined for files and pipes. */
export function columnsOf(stream: NodeJS.WritableStream): number | undefined {
  return 'columns' in stream && typeof stream.columns === 'number' && stream.columns > 0 ? stream.columns : undefined;
}

/**
 * Breaks lines of prose between words at `columns`; what goes on is indented like its line and two more. A word that
 * is too long, such as a path, stays whole. Without columns nothing is broken.
 */
export function wrapProse(text: string, columns: number | undefined): string {
  if (columns === undefined) return text;
  return text
    .split('\n')
    .flatMap((line) => wrapLine(line, columns))
    .join('\n');
}

function wrapLine(line: string, columns: number): string[] {
  const [indent = ''] = /^ */.exec(line) ?? [];
  const lines: string[] = [];
  let current = indent;
  for (const word of line.slice(indent.length).split(' ')) {
    const longer = current.trim() === '' ? `${current}${word}` : `${current} ${word}`;
    if (longer.length <= columns || current.trim() === '') {
      current = longer;
      continue;
    }
    lines.push(current);
    current = `${indent}  ${word}`;
  }
  return [...lines, current];
}

/** A cell of a table's row is at least as wide as this when it is broken between words. */
const NARROWEST_CELL = 30;

/**
 * Breaks rows of a table at `columns`: between cells (two spaces or more) where the rest fits on a line of its own, else
 * between words. What goes on stands below the last cell that leaves room for words. Without columns nothing is broken.
 */
export function wrapTable(text: string, columns: number | undefined): string {
  if (columns === undefined) return text;
  return text
    .split('\n')
    .flatMap((line) => (line.length <= columns ? [line] : wrapRow(line, columns)))
    .join('\n');
}

function wrapRow(line: string, columns: number): string[] {
  const cells = [...line.matchAll(/\S+(?: \S+)*/g)];
  const hanging = cells.findLast(({ index }) => index > 0 && columns - index >= NARROWEST_CELL)?.index ?? 2;
  const indent = ' '.repeat(hanging);
  const lines: string[] = [];
  let current = '';
  const put = (gap: string, text: string) => {
    const isTooLong = current.length + gap.length + text.length > columns;
    // A text that is too long for any line stays where it gains nothing by going on.
    if (isTooLong && current.trim() !== '' && hanging < current.length + gap.length) {
      lines.push(current);
      current = `${indent}${text}`;
    } else {
      current += `${gap}${text}`;
    }
  };
  for (const { 0: text, index } of cells) {
    const gap = lines.length === 0 ? ' '.repeat(index - current.length) : '  ';
    if (hanging + text.length <= columns || current.length + gap.length + text.length <= columns) put(gap, text);
    else for (const [at, word] of text.split(' ').entries()) put(at === 0 ? gap : ' ', word);
  }
  return [...lines, current];
}

/** Writes and waits until it is handed on. A reader that went away (EPIPE) is no failure. */
export function write(stream: NodeJS.WritableStream, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => {
      if (error && !isBrokenPipe(error)) reject(error);
      else resolve();
    });
  });
}

/** Without a listener a broken pipe would end the process with a stack trace. */
export function ignoreBrokenPipes(streams: Streams): void {
  for (const stream of [streams.stdout, streams.stderr]) {
    stream.on('error', (error: unknown) => {
      if (!isBrokenPipe(error)) throw error;
    });
  }
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}

/** `error CODE: what is wrong; what to do` to stderr, or {code, message, hint, details} to stdout with --json. */
export async function printError(error: unknown, streams: Streams, how: { json: boolean; debug: boolean }) {
  const { code, message, hint, details } = describeError(error);
  if (how.json) await write(streams.stdout, `${toJsonText({ code, message, hint, details })}\n`);
  else await write(streams.stderr, `error ${code}: ${oneLine(message)}; ${oneLine(hint)}\n`);
  if (how.debug && error instanceof Error) await write(streams.stderr, `${error.stack ?? error.message}\n`);
}

function describeError(error: unknown) {
  if (error instanceof AuditkeepError) return error;
  return {
    code: 'INTERNAL',
    message: error instanceof Error ? error.message : String(error),
    hint: 'this is a bug: report it with the output of the same command under AUDITKEEP_DEBUG=1',
    details: {},
  };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
