/** Just enough of an assembler for WebAssembly (core specification 2.0, section 5) to write sha-lanes-code.ts. Pure. */

/** Instructions as bytes. */
export type Code = readonly number[];

/** A function whose parameters and result are i32; locals after the parameters: first integers, then vectors. */
export interface WasmFunction {
  readonly name: string;
  readonly params: number;
  readonly result: boolean;
  readonly integers: number;
  readonly vectors: number;
  readonly code: Code;
}

const [I32, V128, FUNCTION, NO_RESULT, END] = [0x7f, 0x7b, 0x60, 0x40, 0x0b];

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

function signed(value: number): number[] {
  const rest = value >> 7;
  const last = rest === (value & 64 ? -1 : 0);
  return last ? [value & 127] : [(value & 127) | 128, ...signed(rest)];
}

const simd = (opcode: number, ...immediates: readonly number[]): Code => [0xfd, ...unsigned(opcode), ...immediates];

/** Locals. */
export const get = (at: number): Code => [0x20, ...unsigned(at)];
export const set = (at: number): Code => [0x21, ...unsigned(at)];

/** Integers. */
export const integer = (value: number): Code => [0x41, ...signed(value)];
export const INT = { add: [0x6a], shl: [0x74], shrU: [0x76], gtS: [0x4a], eqz: [0x45] } as const;
/** Stores the lowest byte. */
export const storeByte = (offset: number): Code => [0x3a, 0, ...unsigned(offset)];

/** Vectors of four words. */
export const load = (offset: number): Code => simd(0x00, 0, ...unsigned(offset));
export const store = (offset: number): Code => simd(0x0b, 0, ...unsigned(offset));
export const constant = (bytes: readonly number[]): Code => simd(0x0c, ...bytes);
/** Sixteen bytes out of those of two vectors, 0 to 31. */
export const shuffle = (bytes: readonly number[]): Code => simd(0x0d, ...bytes);
export const VECTOR = {
  add: simd(0xae),
  and: simd(0x4e),
  or: simd(0x50),
  xor: simd(0x51),
  anyTrue: simd(0x53),
} as const;
export const shiftLeft = (bits: number): Code => [...integer(bits), ...simd(0xab)];
export const shiftRight = (bits: number): Code => [...integer(bits), ...simd(0xad)];

/** Repeats code while the integer it leaves is not zero; at least once. */
export const repeat = (code: Code): Code => [0x03, NO_RESULT, ...code, 0x0d, 0, END];

/** A module of some functions, a memory of pages of 64 KB with what it begins with, exported as `memory`. */
export function wasmModule(
  functions: readonly WasmFunction[],
  memory: { readonly pages: number; readonly begins: Uint8Array },
): Uint8Array {
  const types = functions.map(({ params, result }) => [
    ...[FUNCTION, ...unsigned(params), ...new Array<number>(params).fill(I32)],
    ...(result ? [1, I32] : [0]),
  ]);
  const bodies = functions.map(({ integers, vectors, code }) => {
    const body = [2, ...unsigned(integers), I32, ...unsigned(vectors), V128, ...code, END];
    return [...unsigned(body.length), ...body];
  });
  const exported = functions.map(({ name }, at) => [...nameOf(name), 0, ...unsigned(at)]);
  const data = [0, ...integer(0), END, ...unsigned(memory.begins.length), ...memory.begins];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, types),
    ...section(
      3,
      functions.map((_, at) => unsigned(at)),
    ),
    ...section(5, [[0, ...unsigned(memory.pages)]]),
    ...section(7, [...exported, [...nameOf('memory'), 2, 0]]),
    ...section(10, bodies),
    ...section(11, [data]),
  ]);
}

function section(id: number, entries: readonly (readonly number[])[]): number[] {
  const content = [...unsigned(entries.length), ...entries.flat()];
  return [id, ...unsigned(content.length), ...content];
}

function nameOf(name: string): number[] {
  return [...unsigned(name.length), ...Buffer.from(name)];
}
