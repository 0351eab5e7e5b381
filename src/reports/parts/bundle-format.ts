/**
 * The bundle as a file: a zip of stored (not compressed) parts whose bytes follow from the parts alone, with a manifest
 * and a digest list. Stored, so that no release of a compressor can change the bytes and no part can grow on opening.
 */
import { createHash } from 'node:crypto';
import { unzipSync, zipSync } from 'fflate';
import { canonicalJson } from '../../canonical-json.ts';
import { AuditkeepError } from '../../errors.ts';

const BUNDLE_FORMAT = 'auditkeep-bundle/v1';
const MANIFEST = 'manifest.json';
const DIGEST = 'digest.txt';
/** A model is at most 16 MB and evidence 192 MB; both PDFs and all signatures are below the rest. */
export const MAX_BUNDLE_BYTES = 256 * 1024 * 1024;
const MAX_PARTS = 10_000;
/** Relative names of one to three levels: nothing can point outside of the folder a bundle is opened in. */
const PART_NAME =
  /^(?:(?:decisions|evidence\/[a-z]{2}-\d{2}|oscal|register|statements|templates)\/)?[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[a-z0-9]+)*$/;

/** Parts by name. */
export type BundleParts = ReadonlyMap<string, Uint8Array>;

export interface BundleFinding {
  /** The part that is wrong; `bundle` for the container. */
  readonly part: string;
  readonly what: string;
}

export function sha256Of(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export interface BundleSubject {
  readonly reportId: string;
  readonly version: number;
  readonly reportHash: string;
  readonly installationId: string;
}

/** Adds manifest.json and digest.txt to the content and gives the zip's bytes. Pure: same parts, same bytes. */
export function packBundle(subject: BundleSubject, content: BundleParts): Buffer {
  const parts = new Map(content);
  parts.set(MANIFEST, Buffer.from(manifestText(subject, content), 'utf8'));
  parts.set(DIGEST, Buffer.from(digestText(parts), 'utf8'));
  return zipParts(parts);
}

function manifestText(subject: BundleSubject, content: BundleParts): string {
  const files = namesOf(content).map((path) => {
    const bytes = content.get(path) ?? new Uint8Array();
    return { path, bytes: bytes.length, sha256: sha256Of(bytes) };
  });
  return canonicalJson({ format: BUNDLE_FORMAT, report: { ...subject }, files });
}

/** What `sha256sum -c` reads: every part but the list itself. */
function digestText(parts: BundleParts): string {
  const listed = namesOf(parts).filter((name) => name !== DIGEST);
  return listed.map((name) => `${sha256Of(parts.get(name) ?? '')}  ${name}\n`).join('');
}

function namesOf(parts: BundleParts): string[] {
  return [...parts.keys()].sort();
}

function zipParts(parts: BundleParts): Buffer {
  // fflate writes local time: the components of this instant are the same in every zone.
  const mtime = new Date(1980, 0, 1);
  const entries = namesOf(parts).map((name) => [name, parts.get(name) ?? new Uint8Array()] as const);
  return Buffer.from(zipSync(Object.fromEntries(entries), { level: 0, mtime }));
}

/**
 * Reads a zip into its parts without writing anything.
 * @throws BUNDLE_INVALID for what is no zip, is too large or has names that a bundle has not
 */
export function unpackBundle(zip: Uint8Array): BundleParts {
  if (zip.length > MAX_BUNDLE_BYTES) throw notABundle(`it has ${zip.length} bytes`);
  let unzipped: Record<string, Uint8Array>;
  let count = 0;
  let total = 0;
  try {
    unzipped = unzipSync(zip, {
      filter: ({ name, originalSize, size, compression }) => {
        count += 1;
        if (count > MAX_PARTS) throw notABundle('it has too many parts');
        if (!PART_NAME.test(name)) throw notABundle('a part has a name that is not allowed');
        if (compression !== 0 || size !== originalSize) throw notABundle('a part is compressed');
        // Several entries may point at the same bytes.
        total += originalSize;
        if (total > zip.length) throw notABundle('its parts are larger than the file');
        return true;
      },
    });
  } catch (cause) {
    if (cause instanceof AuditkeepError) throw cause;
    throw notABundle('it cannot be read as zip', cause);
  }
  return new Map(Object.entries(unzipped));
}

function notABundle(what: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('BUNDLE_INVALID', {
    message: `the file is not a bundle: ${what}`,
    hint: 'ask its sender for it again; compare the sha256 of what was sent',
    cause,
  });
}

/**
 * Compares parts with manifest and digest list, and the container with what these parts make. Every part that differs,
 * is missing or is not listed is named.
 */
export function checkParts(zip: Uint8Array, parts: BundleParts): BundleFinding[] {
  const findings: BundleFinding[] = [];
  const manifest = parts.get(MANIFEST);
  const digest = parts.get(DIGEST);
  const listed = digest === undefined ? new Map<string, string>() : readDigest(Buffer.from(digest).toString('utf8'));
  const content = new Map([...parts].filter(([name]) => name !== MANIFEST && name !== DIGEST));
  for (const [name, bytes] of [...content, ...(manifest === undefined ? [] : [[MANIFEST, manifest] as const])]) {
    const expected = listed.get(name);
    if (expected === undefined) findings.push({ part: name, what: `is not listed in ${DIGEST}` });
    else if (expected !== sha256Of(bytes)) findings.push({ part: name, what: `does not have the sha256 of ${DIGEST}` });
  }
  for (const name of listed.keys()) if (!parts.has(name)) findings.push({ part: name, what: 'is missing' });
  for (const name of [MANIFEST, DIGEST]) if (!parts.has(name)) findings.push({ part: name, what: 'is missing' });
  if (findings.length > 0 && manifest !== undefined && digest !== undefined)
    return blameDigest(findings, content, parts);
  if (findings.length === 0 && digest !== undefined && digestText(parts) !== Buffer.from(digest).toString('utf8')) {
    findings.push({ part: DIGEST, what: 'is not the list that these parts make' });
  }
  if (findings.length === 0 && !zipParts(parts).equals(zip)) {
    findings.push({ part: 'bundle', what: 'the container holds more than these parts or was altered' });
  }
  return findings;
}

/** Where the manifest vouches for a part, it is the digest list that was altered. */
function blameDigest(findings: BundleFinding[], content: BundleParts, parts: BundleParts): BundleFinding[] {
  const manifest = Buffer.from(parts.get(MANIFEST) ?? '').toString('utf8');
  const intact = findings.filter(({ part }) => {
    const bytes = content.get(part);
    return bytes !== undefined && manifest.includes(`"path":"${part}","sha256":"${sha256Of(bytes)}"`);
  });
  const blamed = findings.filter((finding) => !intact.includes(finding));
  if (intact.length === 0) return blamed;
  return [...blamed, { part: DIGEST, what: `contradicts ${MANIFEST} on ${intact.length} parts` }];
}

function readDigest(text: string): Map<string, string> {
  const lines = text.split('\n').flatMap((line) => {
    const match = /^([0-9a-f]{64}) {2}(\S+)$/.exec(line);
    return match?.[1] === undefined || match[2] === undefined ? [] : [[match[2], match[1]] as const];
  });
  return new Map(lines);
}
