/** The verifier's own tree and notes, against published cases and notes that other programs signed. */
import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../src/audit/tree/hash.ts';
import { consistencyProof, treeHash } from '../../src/audit/tree/merkle.ts';
import { tilePath } from '../../src/audit/tree/tile.ts';
import { consistencyCases, hasMerkleCases, inclusionCases } from '../support/merkle-cases.ts';
import eventVectors from '../vectors/audit-event-v1.json' with { type: 'json' };
import checkpointVectors from '../vectors/checkpoint-v1.json' with { type: 'json' };
import { verifier } from './verifier.ts';

describe.skipIf(!hasMerkleCases)('published cases (shared/data/merkle)', () => {
  it('are all decided as they must be', () => {
    expect(inclusionCases.length + consistencyCases.length).toBeGreaterThan(190);
    const wrong = [
      ...inclusionCases.filter(([, { claim, refused }]) => verifier.verifyInclusion(claim) === refused),
      ...consistencyCases.filter(([, { claim, refused }]) => verifier.verifyConsistency(claim) === refused),
    ];
    expect(wrong).toEqual([]);
  });
});

describe('notes that other programs signed', () => {
  const FOREIGN = {
    key: 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
    text: "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n",
    line: '\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n',
  };
  const SUMDB_KEY = 'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8';
  const SUMDB_NOTE =
    'go.sum database tree\n65209736\n5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=\n\n' +
    '\u2014 sum.golang.org Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=\n';

  it('the example of the Go library golang.org/x/mod/sumdb/note', () => {
    const key = verifier.parseVerifierKey(FOREIGN.key);
    expect(verifier.openNote(`${FOREIGN.text}\n${FOREIGN.line}`, key)).toBe(FOREIGN.text);
    const changed = FOREIGN.text.replace('answer', 'Answer');
    expect(() => verifier.openNote(`${changed}\n${FOREIGN.line}`, key)).toThrow('does not verify');
  });

  it('a tree head of the Go checksum database, signed by its own log', () => {
    const text = verifier.openNote(SUMDB_NOTE, verifier.parseVerifierKey(SUMDB_KEY));
    expect(verifier.parseTreeHead(text)).toMatchObject({ origin: 'go.sum database tree', size: 65_209_736n });
    const grown = SUMDB_NOTE.replace('65209736', '65209737');
    expect(() => verifier.openNote(grown, verifier.parseVerifierKey(SUMDB_KEY))).toThrow('does not verify');
  });

  it('the known answer of checkpoint/v1', () => {
    const key = verifier.parseVerifierKey(checkpointVectors.verifierKey);
    const text = verifier.openNote(checkpointVectors.note, key);
    expect(verifier.parseTreeHead(text).root.toString('hex')).toBe(checkpointVectors.rootHex);
  });

  const { note, verifierKey } = checkpointVectors;
  it.each([
    ['with bytes after it', `${note}x`],
    ['with an empty line after it', `${note}\n`],
    ['without its last newline', note.slice(0, -1)],
    ['with carriage returns', note.replaceAll('\n', '\r\n')],
    ['without signatures', note.slice(0, note.indexOf('\n\n') + 1)],
    ['with base64 that is not canonical', note.replace(/.=\n$/, (end) => (end.startsWith('E') ? 'F=\n' : 'E=\n'))],
    ['with bytes that are no UTF-8', note.replace('auditkeep', 'auditkeep\ufffd')],
    ['of 20,000 characters', 'x'.repeat(20_000)],
    ['that is empty', ''],
  ])('refuses one %s', (_, text) => {
    expect(() => verifier.openNote(text, verifier.parseVerifierKey(verifierKey))).toThrow('checkpoint-invalid');
  });

  it.each(['', 'a+00000000+AAAA', verifierKey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')])(
    'refuses the key %j',
    (line) => {
      expect(() => verifier.parseVerifierKey(line)).toThrow('key');
    },
  );
});

describe('entries', () => {
  it('of the known answers have their leaves, ids and commitments', () => {
    expect(eventVectors.events.length).toBeGreaterThan(3);
    for (const event of eventVectors.events) {
      const entry = Buffer.from(event.entry, 'hex');
      expect(verifier.leafHash(entry).toString('hex')).toBe(event.leaf);
      expect(verifier.parseEntry(entry)?.id.toString('hex')).toBe(event.bare[0]);
      expect(verifier.parseEntry(entry.subarray(0, -1))).toBeNull();
      expect(verifier.parseEntry(Buffer.concat([entry, Buffer.from([0])]))).toBeNull();
    }
  });

  it('with a length of 2 GB or a negative one are refused without asking for memory', () => {
    for (const length of [0x7fff_ffff, -2]) {
      const frame = Buffer.alloc(4);
      frame.writeInt32BE(length);
      expect(verifier.parseEntry(Buffer.concat([Buffer.from('auditkeep-event/v1\n'), frame]))).toBeNull();
    }
  });
});

it('names tiles as the specification does, and as the product does', () => {
  expect(verifier.tilePath(1_234_067, 256)).toBe('x001/x234/067');
  for (const [index, width] of [
    [0, 256],
    [999, 3],
    [1000, 256],
    [1_234_067, 255],
    [1_000_000, 1],
  ] as const) {
    expect(verifier.tilePath(index, width)).toBe(tilePath(BigInt(index), width));
  }
});

describe('growth', () => {
  const privateKey = createPrivateKey(checkpointVectors.privateKeyPem);
  const key = verifier.parseVerifierKey(checkpointVectors.verifierKey);
  const leaves = Array.from({ length: 9 }, (_, at) => sha256(Buffer.from([at])));
  const head = (n: number, signer: KeyObject = privateKey) => {
    const text = `${checkpointVectors.origin}\n${n}\n${treeHash(leaves.slice(0, n)).toString('base64')}\n`;
    const line = Buffer.concat([Buffer.from(checkpointVectors.keyIdHex, 'hex'), sign(null, Buffer.from(text), signer)]);
    return `${text}\n\u2014 ${checkpointVectors.origin} ${line.toString('base64')}\n`;
  };
  const path = consistencyProof(leaves, 5).map((hash) => hash.toString('base64'));

  it('is shown by a proof between two checkpoints', () => {
    expect(verifier.verifyGrowth(head(5), head(9), path.join('\n'), { key })).toMatchObject({ exitCode: 0 });
  });

  it.each([
    ['a hash too few', path.slice(1).join('\n')],
    ['a hash too many', [...path, path[0]].join('\n')],
    ['nothing', ''],
  ])('is refused with %s', (_, text) => {
    expect(verifier.verifyGrowth(head(5), head(9), text, { key })).toMatchObject({ exitCode: 1 });
  });

  it('is refused backwards, and under another key', () => {
    expect(verifier.verifyGrowth(head(9), head(5), path.join('\n'), { key })).toMatchObject({ exitCode: 1 });
    const stranger = generateKeyPairSync('ed25519').privateKey;
    expect(verifier.verifyGrowth(head(5), head(9, stranger), path.join('\n'), { key })).toMatchObject({ exitCode: 1 });
  });
});
