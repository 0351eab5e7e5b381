/** Rules on decisions that take more than one incarnation or clock to break: checked on signed text alone. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSshKeyFile, type SshKeyFile, writeSshKeyPair } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { decisionText } from '../../src/persons/decision.ts';
import { checkDecisions, type StoredDecision } from '../../src/reports/workflow/decision-check.ts';

const INSTALLATION = '00000000-0000-4000-8000-00000000cafe';
const REPORT = '00000000-0000-4000-8000-000000000001';
const HASH = 'a'.repeat(64);

let folder: string;
let key: SshKeyFile;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-decisions-'));
  await writeSshKeyPair(join(folder, 'key'), 'key');
  key = await readSshKeyFile(join(folder, 'key'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function sign(
  meaning: 'submit' | 'review',
  previous: StoredDecision | null,
  change: { readonly incarnation?: number; readonly time?: string } = {},
): Promise<StoredDecision> {
  const request = {
    format: 'auditkeep-decision/v1',
    installation_id: INSTALLATION,
    incarnation: 2,
    decision_id: `00000000-0000-4000-8000-0000000000${meaning === 'submit' ? '0a' : '0b'}`,
    object: { kind: 'report', id: REPORT },
    version: 1,
    report_hash: HASH,
    review_pdf_sha256: HASH,
    interim: false,
    generated_by: 'engine@auditkeep.invalid',
    meaning,
    person: meaning,
    person_name: meaning,
    previous_decision_sha256: previous === null ? null : createHash('sha256').update(previous.payload).digest('hex'),
    time: '2026-01-02T00:00:00.000Z',
    ...change,
  } as const;
  const payload = decisionText(request, key.publicKey.fingerprint, null);
  return { payload, signature: await signSshsig(key, NAMESPACES.reportDecision, Buffer.from(payload)), comment: null };
}

test.each([
  ['the same time and incarnation', {}, []],
  ['a later incarnation', { incarnation: 3 }, []],
  ['an earlier incarnation', { incarnation: 1 }, ['it belongs to an earlier incarnation than the one it follows']],
  ['an earlier time', { time: '2026-01-01T23:59:59.999Z' }, ['it is dated before the one it follows']],
])('a decision of %s', async (_, change, expected) => {
  const submit = await sign('submit', null);
  // Void, and of a time and incarnation that what follows is not compared with.
  const future = await sign('review', submit, { incarnation: 9, time: '2027-01-01T00:00:00.000Z' });
  const forged = { ...future, signature: '-----BEGIN SSH SIGNATURE-----junk' };
  const review = await sign('review', submit, change);
  let signing = 'submit';
  const { findings } = checkDecisions({
    installationId: INSTALLATION,
    versions: [
      {
        ...{ id: REPORT, version: 1, reportHash: HASH, reviewPdfSha256: HASH, interim: false, approvedBy: null },
        ...{ generatedBy: 'engine@auditkeep.invalid', approvers: 1, status: 'reviewed', reviewedBy: 'review' },
      },
    ],
    stored: [submit, forged, review],
    signers: {
      signerOf: () => {
        const email = signing;
        signing = 'review';
        return { email, compromised: false, endedBy: null };
      },
      hasRole: () => true,
      nameOf: () => null,
    },
    anchors: null,
  });
  expect(findings.filter((finding) => finding.void).map(({ what }) => what)).toEqual([
    'the signature does not verify (malformed)',
    ...expected,
  ]);
});
