/** The SSH wire encoding (RFC 4251 section 5): length-prefixed strings and big-endian integers. */
import { AuditkeepError } from '../errors.ts';

/** Concatenates; strings are written with their 32-bit length, byte arrays given as `raw` without. */
export function encodeStrings(...parts: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
      return [encodeUint32(bytes.length), bytes];
    }),
  );
}

export function encodeUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Reads a buffer from its front. Every method throws KEY_FORMAT where the bytes end too early. */
export class WireReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  raw(length: number): Buffer {
    if (this.#offset + length > this.#bytes.length) throw keyFormat('the bytes end too early');
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  uint32(): number {
    return this.raw(4).readUInt32BE();
  }

  string(): Buffer {
    return this.raw(this.uint32());
  }

  text(): string {
    return this.string().toString('utf8');
  }

  /** An unsigned mpint as bytes without the leading zero that keeps it positive. */
  unsigned(): Buffer {
    const bytes = this.string();
    const first = bytes[0];
    if (first !== undefined && first >= 0x80) throw keyFormat('a number is negative');
    // One number, one form: otherwise one key would have many fingerprints.
    if (first === 0 && (bytes[1] ?? 0) < 0x80) throw keyFormat('a number has leading zeros');
    return first === 0 ? bytes.subarray(1) : bytes;
  }

  /** @throws KEY_FORMAT unless everything has been read */
  end(): void {
    if (this.#offset !== this.#bytes.length) throw keyFormat('there are bytes after the end');
  }
}

/** Base64 as it was written: Node's decoder skips characters that are none and accepts spare bits. */
export function decodeBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (text === '' || bytes.toString('base64') !== text) throw keyFormat('the base64 is malformed');
  return bytes;
}

export function keyFormat(what: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('KEY_FORMAT', {
    message: `an SSH key or signature cannot be read: ${what}`,
    hint: 'give an OpenSSH key as ssh-keygen writes it, for example `ssh-keygen -t ed25519`',
    cause,
  });
}
