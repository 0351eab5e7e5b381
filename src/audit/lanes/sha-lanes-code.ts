/**
 * SHA-256 of four messages at once, as a WebAssembly module that is put together here: FIPS 180-4 section 6.2 with a
 * 128-bit register in place of each word, a lane a message. docs/decisions/0155 says why; sha-lanes.ts compares it with
 * node:crypto before it is used. Pure.
 */
import { messageFunctions } from './message-code.ts';
import {
  type Code,
  get,
  INT,
  integer,
  load,
  repeat,
  set,
  shiftLeft,
  shiftRight,
  shuffle,
  store,
  VECTOR,
  type WasmFunction,
  wasmModule,
} from './wasm-code.ts';

/** FIPS 180-4 section 4.2.2. */
const ROUND_CONSTANTS = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
  0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
  0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
  0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
  0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
  0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2,
];
/** FIPS 180-4 section 5.3.3. */
const FIRST_STATE = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

const LANES = [0, 1, 2, 3] as const;
const BLOCK_BYTES = 64;
const VECTOR_BYTES = 16;

/** Where a constant lies, four times: the rounds' first, then the first state. */
const constantAt = (at: number) => VECTOR_BYTES * at;
const STATE_AT = ROUND_CONSTANTS.length;
/** What the memory begins with; whoever uses it leaves it alone. */
export const RESERVED_BYTES = constantAt(STATE_AT + FIRST_STATE.length);

/** Locals of hash(): messages, blocks, where digests go; then vectors. */
const MESSAGE = 0;
const BLOCKS = 4;
const OUT = 5;
const [STATE, VARS, WORDS, SPARE] = [9, 17, 25, 41];
const word = (at: number) => WORDS + (at & 15);

const BYTES_REVERSED = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
const LOW_WORDS = [0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23];
const HIGH_WORDS = LOW_WORDS.map((byte) => byte + 8);
const LOW_HALVES = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
const HIGH_HALVES = LOW_HALVES.map((byte) => byte + 8);

/** Four vectors, a message each, into four vectors, a word of each message each; and back. */
function transpose(vectors: readonly [number, number, number, number]): Code {
  const [a, b, c, d] = vectors;
  const [ab, cd, high, low] = [SPARE, SPARE + 1, SPARE + 2, SPARE + 3];
  const mix = (x: number, y: number, bytes: readonly number[]) => [...get(x), ...get(y), ...shuffle(bytes)];
  return [
    ...[...mix(a, b, LOW_WORDS), ...set(ab), ...mix(c, d, LOW_WORDS), ...set(cd)],
    ...[...mix(a, b, HIGH_WORDS), ...set(high), ...mix(c, d, HIGH_WORDS), ...set(low)],
    ...[...mix(ab, cd, LOW_HALVES), ...set(a), ...mix(ab, cd, HIGH_HALVES), ...set(b)],
    ...[...mix(high, low, LOW_HALVES), ...set(c), ...mix(high, low, HIGH_HALVES), ...set(d)],
  ];
}

/** SHA-256 is big-endian, WebAssembly is not. */
const reverseBytes = (vector: number): Code => [...get(vector), ...get(vector), ...shuffle(BYTES_REVERSED)];

/** The next block of every message into the words of the schedule. */
function readBlocks(): Code {
  return LANES.flatMap((quarter) => {
    const words = LANES.map((lane) => word(4 * quarter + lane)) as [number, number, number, number];
    const read = words.flatMap((to, lane) => [
      ...get(MESSAGE + lane),
      ...load(VECTOR_BYTES * quarter),
      ...set(to),
      ...reverseBytes(to),
      ...set(to),
    ]);
    return [...read, ...transpose(words)];
  });
}

const rotated = (x: number, bits: number): Code => [
  ...[...get(x), ...shiftRight(bits), ...get(x), ...shiftLeft(32 - bits), ...VECTOR.or],
];

/** The sums of rotations: three of them, or two and a shift (FIPS 180-4 section 4.1.2). */
function sigma(x: number, first: number, second: number, last: Code): Code {
  return [...rotated(x, first), ...rotated(x, second), ...VECTOR.xor, ...last, ...VECTOR.xor];
}

const shifted = (x: number, bits: number): Code => [...get(x), ...shiftRight(bits)];

/** Word 16 and later ones of the schedule, each in the place of the one that is 16 older. */
function extendSchedule(at: number): Code {
  const [w2, w7, w15, w16] = [word(at - 2), word(at - 7), word(at - 15), word(at)];
  return [
    ...[...sigma(w2, 17, 19, shifted(w2, 10)), ...get(w7), ...VECTOR.add],
    ...[...sigma(w15, 7, 18, shifted(w15, 3)), ...VECTOR.add, ...get(w16), ...VECTOR.add, ...set(w16)],
  ];
}

/** One round over the variables a to h, whose names move on by one afterwards: h is the next a. */
function round(at: number, names: readonly number[]): Code {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = names;
  const sum = SPARE;
  const choose = [...get(f), ...get(g), ...VECTOR.xor, ...get(e), ...VECTOR.and, ...get(g), ...VECTOR.xor];
  const either = [...get(a), ...get(b), ...VECTOR.or, ...get(c), ...VECTOR.and];
  const majority = [...either, ...get(a), ...get(b), ...VECTOR.and, ...VECTOR.or];
  return [
    ...[...get(h), ...get(word(at)), ...integer(0), ...load(constantAt(at)), ...VECTOR.add, ...VECTOR.add],
    ...[...choose, ...VECTOR.add, ...sigma(e, 6, 11, rotated(e, 25)), ...VECTOR.add, ...set(sum)],
    ...[...get(d), ...get(sum), ...VECTOR.add, ...set(d)],
    ...[...majority, ...get(sum), ...VECTOR.add, ...sigma(a, 2, 13, rotated(a, 22)), ...VECTOR.add, ...set(h)],
  ];
}

function compressBlocks(): Code {
  const variables = FIRST_STATE.map((_, at) => VARS + at);
  const begin = variables.flatMap((variable, at) => [...get(STATE + at), ...set(variable)]);
  const rounds = ROUND_CONSTANTS.flatMap((_, at) => {
    const names = variables.map((_name, position) => VARS + ((position + 8 * 8 - at) & 7));
    return [...(at < 16 ? [] : extendSchedule(at)), ...round(at, names)];
  });
  const end = variables.flatMap((variable, at) => [
    ...[...get(STATE + at), ...get(variable), ...VECTOR.add, ...set(STATE + at)],
  ]);
  return [...begin, ...rounds, ...end];
}

/** hash(message 0 to 3, blocks, to 0 to 3): of padded messages of equally many blocks, 32 bytes each. */
const hash: WasmFunction = {
  ...{ name: 'hash', params: 9, result: false, integers: 0, vectors: SPARE + 4 - STATE },
  code: [
    ...FIRST_STATE.flatMap((_, at) => [...integer(0), ...load(constantAt(STATE_AT + at)), ...set(STATE + at)]),
    ...repeat([
      ...readBlocks(),
      ...compressBlocks(),
      ...LANES.flatMap((lane) => [...get(MESSAGE + lane), ...integer(BLOCK_BYTES), ...INT.add, ...set(MESSAGE + lane)]),
      ...[...get(BLOCKS), ...integer(-1), ...INT.add, ...set(BLOCKS), ...get(BLOCKS)],
    ]),
    ...[0, 4].flatMap((half) => {
      const words = LANES.map((lane) => STATE + half + lane) as [number, number, number, number];
      const write = words.flatMap((from, lane) => [...[...get(OUT + lane), ...reverseBytes(from), ...store(4 * half)]]);
      return [...transpose(words), ...write];
    }),
  ],
};

/** The module, with a memory of so many pages of 64 KB. */
export function shaLanesModule(pages: number): Uint8Array {
  const words = [...ROUND_CONSTANTS, ...FIRST_STATE].flatMap((value) => [value, value, value, value]);
  const begins = Buffer.alloc(RESERVED_BYTES);
  for (const [at, value] of words.entries()) begins.writeUInt32LE(value, 4 * at);
  return wasmModule([hash, ...messageFunctions], { pages, begins });
}
