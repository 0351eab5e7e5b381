/**
 * Worker threads that hash slabs. The first takes the links, whose order matters; events go to whoever has least to do.
 * A thread has at most a few slabs waiting, so that memory stays flat.
 */
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { ChunkMemory } from '../../db/copy-out.ts';
import { AuditkeepError } from '../../errors.ts';
import type { Slab } from '../copy/slabs.ts';
import type { ScanInput, ScanResult } from './chain-scan.ts';
import type { PartialSums } from './event-sums.ts';
import type { ScanReply, ScanRequest } from './scan-thread.ts';

/** Beside the thread that reads; more would wait for one connection. */
const MAX_THREADS = 3;
const WAITING_SLABS = 4;

interface Thread {
  readonly worker: Worker;
  waiting: number;
  result: ScanResult | null;
  /** Who waits for the sums of a cut, in order. */
  readonly cuts: ((sums: PartialSums) => void)[];
}

export class ScanThreads {
  readonly #threads: Thread[];
  /** Where slabs lie: threads give their memory back. */
  readonly #memory: ChunkMemory;
  #failure: Error | null = null;
  /** Rows that were hashed. */
  rows = 0;

  constructor({ input, memory }: { readonly input: ScanInput; readonly memory: ChunkMemory }) {
    this.#memory = memory;
    const count = Math.max(1, Math.min(MAX_THREADS, availableParallelism() - 1));
    this.#threads = Array.from({ length: count }, () => this.#start(input));
  }

  /** Hands links over, in order; resolves when the thread can take more. @throws what the thread threw */
  async links(slab: Slab): Promise<void> {
    const [first] = this.#threads;
    if (first !== undefined) await this.#send(first, { kind: 'links', slab });
  }

  /** Hands events over. @throws what a thread threw, for example CHAIN_CANARY */
  async events(slab: Slab): Promise<void> {
    const [idlest] = [...this.#threads].sort((a, b) => a.waiting - b.waiting);
    if (idlest !== undefined) await this.#send(idlest, { kind: 'events', slab });
  }

  /**
   * What the events handed over since the last cut sum up to, a part a thread; they are not in the results. Resolves when
   * all of them are hashed, and not at all when a thread fails: finish() throws then. Others may hand over more meanwhile.
   */
  cut(): Promise<readonly PartialSums[]> {
    const parts = this.#threads.map((thread) => {
      const part = new Promise<PartialSums>((resolve) => {
        thread.cuts.push(resolve);
      });
      thread.waiting += 1;
      thread.worker.postMessage({ kind: 'cut' } satisfies ScanRequest);
      return part;
    });
    return Promise.all(parts);
  }

  /** The results, that of the links first, once every slab is hashed. */
  async finish(): Promise<readonly ScanResult[]> {
    for (const [at, thread] of this.#threads.entries()) {
      await this.#send(thread, { kind: 'finish', withLinks: at === 0 });
    }
    return Promise.all(
      this.#threads.map(async (thread) => {
        while (thread.result === null) await this.#progress(thread);
        return thread.result;
      }),
    );
  }

  /** Ends the threads, whatever they do. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  #start(input: ScanInput): Thread {
    // The compiled product has .js files, tests and benchmarks run .ts ones: the thread's file is of our own kind.
    const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
    const worker = new Worker(new URL(`./scan-thread${extension}`, import.meta.url), {
      workerData: input,
      execArgv: [],
    });
    const thread: Thread = { worker, waiting: 0, result: null, cuts: [] };
    worker.on('message', (reply: ScanReply) => {
      thread.waiting -= 1;
      if ('cut' in reply) thread.cuts.shift()?.(reply.cut);
      else if ('result' in reply) thread.result = reply.result;
      else if ('failure' in reply) this.#failure ??= new AuditkeepError(reply.failure.code, reply.failure);
      else {
        this.rows += reply.rows;
        this.#memory.give(reply.memory);
      }
    });
    worker.on('error', (error) => {
      this.#failure ??= error instanceof Error ? error : new Error(String(error));
    });
    return thread;
  }

  async #send(thread: Thread, request: ScanRequest): Promise<void> {
    this.#check();
    thread.waiting += 1;
    thread.worker.postMessage(request, 'slab' in request ? [request.slab.buffer] : []);
    while (thread.waiting >= WAITING_SLABS) await this.#progress(thread);
  }

  /** Resolves with the thread's next reply. */
  async #progress(thread: Thread): Promise<void> {
    this.#check();
    await once(thread.worker, 'message');
    this.#check();
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}
