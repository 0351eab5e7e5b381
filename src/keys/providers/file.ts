/**
 * Key-encryption keys in files: `<home>/keys/kek-<generation>.json`, mode 0600 in a folder of mode 0700. Whoever reads
 * such a file and the database reads everything; back it up apart from the database (src/keys/README.md).
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { AuditkeepError } from '../../errors.ts';
import { createKekFile, type KekFile, listGenerations, readKekFile } from './kek-file.ts';
import type { KekName, KekProvider } from './provider.ts';

/** RFC 3394 section 2.2.3.1. */
const DEFAULT_IV = Buffer.alloc(8, 0xa6);

/** The provider over a home folder. Nothing is read before the first use; read keys stay in memory. */
export function fileKekProvider(home: string): KekProvider {
  const loaded = new Map<string, KekFile>();
  const load = async (kek: KekName): Promise<KekFile> => {
    const known = loaded.get(kek.id);
    if (known !== undefined) return known;
    const file = await readKekFile(home, kek.generation);
    if (file.id !== kek.id) {
      throw new AuditkeepError('KEY_MISSING', {
        message: `the database needs key-encryption key ${kek.id}, but keys/kek-${kek.generation}.json holds ${file.id}`,
        hint: 'restore the key file that belongs to this database, or point AUDITKEEP_HOME at its folder',
      });
    }
    loaded.set(kek.id, file);
    return file;
  };
  return {
    name: 'file',
    async create() {
      const newest = (await listGenerations(home)).at(-1);
      const file = newest === undefined ? await createKekFile(home, 1) : await readKekFile(home, newest);
      return { id: file.id, generation: file.generation };
    },
    async wrap(kek, payload) {
      const { key } = await load(kek);
      const cipher = createCipheriv('id-aes256-wrap', key, DEFAULT_IV);
      return Buffer.concat([cipher.update(payload), cipher.final()]);
    },
    async unwrap(kek, wrapped) {
      const { key } = await load(kek);
      const decipher = createDecipheriv('id-aes256-wrap', key, DEFAULT_IV);
      try {
        return Buffer.concat([decipher.update(wrapped), decipher.final()]);
      } catch (cause) {
        throw new AuditkeepError('TAMPERED', {
          message: `a wrapped key does not open with key-encryption key ${kek.id}`,
          hint: 'restore security_secret.key_wrap from a backup',
          details: { kekId: kek.id },
          cause,
        });
      }
    },
    async health(kek) {
      try {
        // Read again: a file whose mode was opened up since the start is worth knowing.
        const file = await readKekFile(home, kek.generation);
        if (file.id === kek.id) return { kind: 'ready' };
        return { kind: 'unusable', code: 'KEY_MISSING', message: `the key file holds another key, ${file.id}` };
      } catch (error) {
        if (!(error instanceof AuditkeepError)) throw error;
        return { kind: 'unusable', code: error.code, message: error.message };
      }
    },
  };
}
