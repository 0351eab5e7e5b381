/** Instructions that put messages of SHA-256 together in the memory of sha-lanes-code.ts. Pure. */
import {
  constant,
  get,
  INT,
  integer,
  load,
  repeat,
  set,
  store,
  storeByte,
  VECTOR,
  type WasmFunction,
} from './wasm-code.ts';

const BLOCK_BYTES = 64;
const VECTOR_BYTES = 16;

/** copy(to, from, length): in steps of 16 bytes, so up to 15 more are written. */
const copy: WasmFunction = {
  ...{ name: 'copy', params: 3, result: false, integers: 0, vectors: 0 },
  code: repeat([
    ...[...get(0), ...get(1), ...load(0), ...store(0)],
    ...[0, 1].flatMap((at) => [...get(at), ...integer(VECTOR_BYTES), ...INT.add, ...set(at)]),
    ...[...get(2), ...integer(-VECTOR_BYTES), ...INT.add, ...set(2), ...get(2), ...integer(0), ...INT.gtS],
  ]),
};

/** pad(at, length): ends a message of less than 8 KB (FIPS 180-4 section 5.1.1), gives its blocks; writes 81 bytes. */
const pad: WasmFunction = {
  ...{ name: 'pad', params: 2, result: true, integers: 2, vectors: 1 },
  code: [
    ...[...get(0), ...get(1), ...INT.add, ...set(2), ...get(2), ...integer(0x80), ...storeByte(0)],
    ...[1, 17, 33, 49, 65].flatMap((offset) => [...get(2), ...get(4), ...store(offset)]),
    ...[...get(1), ...integer(BLOCK_BYTES + 8), ...INT.add, ...integer(6), ...INT.shrU, ...set(3)],
    ...[...get(3), ...integer(6), ...INT.shl, ...get(0), ...INT.add, ...integer(-2), ...INT.add, ...set(2)],
    ...[...get(2), ...get(1), ...integer(5), ...INT.shrU, ...storeByte(0)],
    ...[...get(2), ...get(1), ...integer(3), ...INT.shl, ...storeByte(1)],
    ...get(3),
  ],
};

const [INNER_PAD, OUTER_PAD] = [0x36, 0x5c].map((byte) => constant(new Array<number>(VECTOR_BYTES).fill(byte)));

/** key(at, inner, outer): the first blocks of an HMAC under a key of 16 bytes (RFC 2104). */
const key: WasmFunction = {
  ...{ name: 'key', params: 3, result: false, integers: 0, vectors: 0 },
  code: [INNER_PAD, OUTER_PAD].flatMap((pads = [], at) => [
    ...[...get(1 + at), ...get(0), ...load(0), ...pads, ...VECTOR.xor, ...store(0)],
    ...[16, 32, 48].flatMap((offset) => [...get(1 + at), ...pads, ...store(offset)]),
  ]),
};

/** same(a, b): whether two times 32 bytes are equal. */
const same: WasmFunction = {
  ...{ name: 'same', params: 2, result: true, integers: 0, vectors: 0 },
  code: [
    ...[0, 16].flatMap((offset) => [...get(0), ...load(offset), ...get(1), ...load(offset), ...VECTOR.xor]),
    ...[...VECTOR.or, ...VECTOR.anyTrue, ...INT.eqz],
  ],
};

/** All of them. */
export const messageFunctions: readonly WasmFunction[] = [copy, pad, key, same];
