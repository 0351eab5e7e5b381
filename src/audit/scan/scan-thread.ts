/** Entry of a worker thread of full verification: slabs come in, sums at each cut and one result go out. */
import { parentPort, workerData } from 'node:worker_threads';
import { AuditkeepError, type ErrorCode } from '../../errors.ts';
import type { Slab } from '../copy/slabs.ts';
import { ChainScan, type ScanInput, type ScanResult } from './chain-scan.ts';
import type { PartialSums } from './event-sums.ts';

/** What a thread is told, in order; `finish` is the last. */
export type ScanRequest =
  | { readonly kind: 'links' | 'events'; readonly slab: Slab }
  | { readonly kind: 'cut' }
  | { readonly kind: 'finish'; readonly withLinks: boolean };

/** The answer to each request. Our own errors are told as they are; others end the thread. */
export type ScanReply =
  | { readonly rows: number; readonly memory: ArrayBuffer }
  | { readonly cut: PartialSums }
  | { readonly result: ScanResult }
  | { readonly failure: { readonly code: ErrorCode; readonly message: string; readonly hint: string } };

const port = parentPort;
if (port !== null) {
  let scan: ChainScan | null = null;
  const scanOf = () => {
    scan ??= new ChainScan(workerData as ScanInput);
    return scan;
  };
  port.on('message', (request: ScanRequest) => {
    const reply = answer(scanOf, request);
    port.postMessage(reply, 'memory' in reply ? [reply.memory] : []);
  });
}

function answer(scanOf: () => ChainScan, request: ScanRequest): ScanReply {
  try {
    const scan = scanOf();
    if (request.kind === 'finish') return { result: scan.finish(request.withLinks) };
    if (request.kind === 'cut') return { cut: scan.cut() };
    const rows = request.kind === 'links' ? scan.pushLinks(request.slab) : scan.pushEvents(request.slab);
    return { rows, memory: request.slab.buffer };
  } catch (error) {
    if (!(error instanceof AuditkeepError)) throw error;
    return { failure: { code: error.code, message: error.message, hint: error.hint } };
  }
}
