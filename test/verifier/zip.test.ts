/** A bundle as a zip: every byte of its headers counts, and nothing comes before or after it. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryHome } from '../support/context.ts';
import { flip, useRealBundle } from './real-bundle.ts';
import type { Report } from './verifier.ts';

const real = useRealBundle();

describe('a zip', () => {
  const asZip = async (bytes: Buffer): Promise<Report> => {
    const path = join(await temporaryHome(), 'bundle.zip');
    await writeFile(path, bytes);
    return real.check(path);
  };

  it('with a byte changed anywhere in its headers is refused', async () => {
    const zip = await readFile(`${real.folder}.zip`);
    const directory = zip.readUInt32LE(zip.length - 6);
    const passed: number[] = [];
    const places = [...Array(60).keys(), ...Array.from({ length: zip.length - directory }, (_, at) => directory + at)];
    for (const at of places.filter((place) => place < 60 || place % 3 === 0 || place > zip.length - 22)) {
      if ((await asZip(flip(zip, at))).exitCode !== 1) passed.push(at);
    }
    expect(passed).toEqual([]);
  });

  it('that is cut, or followed or preceded by bytes, is refused', async () => {
    const zip = await readFile(`${real.folder}.zip`);
    for (const bytes of [zip.subarray(0, -1), zip.subarray(1), Buffer.concat([zip, zip]), Buffer.alloc(0)]) {
      expect(await asZip(bytes)).toMatchObject({ exitCode: 1, findings: [{ class: 'zip-invalid' }] });
    }
  });

  it.each([
    ['a path out of the folder', 'README.txt', '../DME.txt'],
    ['an absolute path', 'README.txt', '/EADME.txt'],
    ['a part twice', 'chain/001', 'chain/000'],
    ['a name that is not allowed', 'log.vkey', 'log.vkez'],
  ])('with %s is refused', async (_, from, to) => {
    const zip = (await readFile(`${real.folder}.zip`)).toString('latin1').replaceAll(from, to);
    const report = await asZip(Buffer.from(zip, 'latin1'));
    expect(report).toMatchObject({ exitCode: 1, findings: [{ class: 'zip-invalid' }] });
  });

  it('says which rule it breaks: a part twice, or out of order', async () => {
    const zip = (await readFile(`${real.folder}.zip`)).toString('latin1');
    const twice = await asZip(Buffer.from(zip.replaceAll('chain/001', 'chain/000'), 'latin1'));
    expect(twice.findings[0]?.what).toContain('twice');
    const turned = zip.replaceAll('chain/000', 'chain/007').replaceAll('chain/001', 'chain/000');
    expect((await asZip(Buffer.from(turned, 'latin1'))).findings[0]?.what).toContain('out of order');
  });

  it('with a part of 4 GB, or a directory of 4 GB, is refused without reading it', async () => {
    const zip = await readFile(`${real.folder}.zip`);
    const directory = zip.readUInt32LE(zip.length - 6);
    for (const places of [[directory + 20, directory + 24, 18, 22], [zip.length - 10], [zip.length - 6]]) {
      const huge = Buffer.from(zip);
      for (const at of places) huge.writeUInt32LE(0xffff_ffff, at);
      expect(await asZip(huge)).toMatchObject({ exitCode: 1, findings: [{ class: 'zip-invalid' }] });
    }
  });
});
