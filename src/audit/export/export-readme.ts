/** The README.txt of a bundle: what is in it and how a stranger checks it. No time, no name: the same for each export. */

/** Words for people, 80 columns. */
export function readmeText(bundle: {
  readonly origin: string;
  readonly size: bigint;
  readonly from: bigint;
  readonly to: bigint;
  readonly open: boolean;
}): string {
  const { origin, size, from, to, open } = bundle;
  const personal = open
    ? 'openings/            salts and columns of both groups: PERSONAL DATA IN CLEAR'
    : 'No personal data: who acted and on what is in an entry only as a commitment.';
  return `Audit log ${origin}

Signed up to ${size} events; holds the entries ${from} up to, without, ${to}.

  checkpoint           the signed head of the log (C2SP tlog-checkpoint)
  checkpoints.ndjson   the heads that were signed before, also under earlier names of the log
  tile/<level>/        the hashes of the Merkle tree (C2SP tlog-tiles)
  tile/entries/        the entries (C2SP entry bundles, audit-event/v1)
  chain/               the chain hashes
  erasures.ndjson      groups of events that were erased, with their commitments
  records.ndjson       the decisions to erase, and to go on after a restore, each signed by two persons
  certificates.ndjson  only when events were destroyed: certificates, signed by the log
  manifests.ndjson     only when partitions were archived or destroyed: what they held
  log.vkey             the log's key, as it says itself
  bundle.json          what must be here
${open ? `  ${personal}` : `\n${personal}`}

To check it, with Node.js 20 or newer and one file, verify.mjs:

  node verify.mjs THIS_FOLDER --key 'NAME+ID+KEY' --signers SIGNERS

Take verify.mjs, the key line and SIGNERS, the list of persons and their SSH keys
(OpenSSH allowed_signers), by another way than this bundle: a key found in here
shows only that the bundle agrees with itself. Add --checkpoint FILE for each
checkpoint that you kept from earlier: then a rewritten past is found too.

Exit code 0: intact. 1: tampered, each finding names what. 2: cannot decide.
`;
}
