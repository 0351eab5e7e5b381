/** What the seal says beside the PDF: which report it is, and by which hashes. */

export interface SealSubject {
  readonly reportId: string;
  readonly version: number;
  /** H. */
  readonly reportHash: string;
  /** D. */
  readonly decisionsSha256: string;
}

/** The reason in the signature, signed with it; printable ASCII. */
export function sealReason({ reportId, version, reportHash, decisionsSha256 }: SealSubject): string {
  return `Seal of report ${reportId}, version ${version}; model sha256 ${reportHash}; decisions sha256 ${decisionsSha256}`;
}
